import { number } from "./figure.ts";

/** A figure that the project targets. */
export interface Target {
  readonly what: string;
  /** ip-masq-agent's figure for the same work. */
  readonly peer: string;
  readonly marks: readonly Mark[];
}

export interface Mark {
  /** Names the mark, if there are several. */
  readonly of?: string;
  readonly value: number;
  /** Decides whether the work is done. A value of at most this is right; at least, if `more` is better. */
  readonly must?: number;
  /** Where the project wants to be. */
  readonly aim?: number;
  readonly more?: boolean;
  readonly show: (value: number) => string;
}

/** Returns one row per mark: what, peer, must, aim, measured, result. */
export function targetRows({ what, peer, marks }: Target): string[][] {
  return marks.map((mark, i) => [
    [i === 0 ? what : "", mark.of].filter(Boolean).join(": "),
    i === 0 ? peer : "",
    ...[mark.must, mark.aim, mark.value].map(it => (it === undefined ? "–" : mark.show(it))),
    result(mark),
  ]);
}

function result(mark: Mark): string {
  const { must, aim, value } = mark;
  if (!Number.isFinite(value)) return "not measured";
  if (must !== undefined && misses(mark, must)) return `**missed by ${distance(value, must)}**`;
  const met = must === undefined ? [] : ["met"];
  if (aim === undefined) return "met";
  return [...met, misses(mark, aim) ? `aim missed by ${distance(value, aim)}` : "aim met"].join(", ");
}

function misses({ more, value }: Mark, goal: number): boolean {
  return more ? value < goal : value > goal;
}

function distance(value: number, goal: number): string {
  return goal === 0 ? number(value) : `${number(100 * Math.abs(value / goal - 1))} %`;
}
