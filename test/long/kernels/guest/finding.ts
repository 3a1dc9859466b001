import type { Tally } from "../../../../lab/load.ts";

/** What a check found. */
export interface Finding {
  readonly ok: boolean;
  /** In a few words, for a table. */
  readonly cell: string;
  /** The numbers behind it, or what a person needs to understand why it is not so. */
  readonly raw: unknown;
}

/** Judges flows of which those to `kept` were to keep their address, and those to `outbound` to be masqueraded. */
export function judged(during: string, kept: Tally | undefined, outbound?: Tally): Finding {
  const tallies = [kept, outbound].filter(it => it !== undefined);
  const arrived = sum(tallies.map(({ sent, lost }) => sent - lost));
  const wrong = sum(tallies.map(({ other }) => other)) + (kept?.fromNode ?? 0) + (outbound?.fromPod ?? 0);
  return { ok: wrong === 0 && arrived > 0, cell: inWords(wrong, arrived, during), raw: { wrong, tallies } };
}

export function inWords(wrong: number, flows: number, during: string): string {
  return `${wrong} wrong of ${flows.toLocaleString("en")}, ${during}`;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
