import { duration, megabytes, number } from "./figure.ts";

/** A figure that the project targets, and what was measured of it. */
export interface Target {
  readonly what: string;
  /** What ip-masq-agent needs for the same. */
  readonly peer: string;
  readonly marks: readonly Mark[];
}

interface Mark {
  /** What of it, where there are several. */
  readonly of?: string;
  readonly unit: "s" | "bytes" | "times" | "share" | "";
  readonly better: "more" | "less";
  readonly value: number;
  /** Decides whether the work is done. */
  readonly must?: number;
  /** Where the project wants to be. */
  readonly aim?: number;
}

/** The cells of its rows, one a mark: what, peer, must, aim, measured, and what is to be said of it. */
export function targetRows({ what, peer, marks }: Target): string[][] {
  return marks.map((mark, i) => [
    [i === 0 ? what : "", mark.of].filter(Boolean).join(": "),
    i === 0 ? peer : "",
    goal(mark, mark.must),
    goal(mark, mark.aim),
    shown(mark, mark.value),
    said(mark),
  ]);
}

function goal(mark: Mark, value: number | undefined): string {
  return value === undefined ? "–" : shown(mark, value);
}

function shown({ unit }: Mark, value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (unit === "s") return duration(value);
  if (unit === "share") return `${number(100 * value)} %`;
  if (unit === "bytes") return megabytes(value);
  return unit === "times" ? `${number(value)} times` : number(value);
}

function said(mark: Mark): string {
  if (!Number.isFinite(mark.value)) return "not measured";
  const [must, aim] = [mark.must, mark.aim].map(goal =>
    goal === undefined ? undefined : missed(mark, goal),
  );
  if (must !== undefined) return `**missed by ${must}**`;
  if (aim !== undefined) return `${mark.must === undefined ? "" : "met, "}aim missed by ${aim}`;
  return mark.must === undefined ? "aim met" : mark.aim === undefined ? "met" : "met, aim too";
}

/** By how much a value falls short; undefined if it does not. */
function missed({ better, value }: Mark, goal: number): string | undefined {
  if (better === "less" ? value <= goal : value >= goal) return undefined;
  return goal === 0 ? number(value) : `${number(100 * Math.abs(value / goal - 1))} %`;
}
