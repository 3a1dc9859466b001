import type { Tally } from "../../../../lab/load.ts";

/** The result of a check. */
export interface Finding {
  readonly ok: boolean;
  /** The result in a few words, for a table. */
  readonly cell: string;
  /** The raw figures, or the details of a failure. */
  readonly raw: unknown;
}

/** Judges flows: those to `kept` must keep their address, those to `outbound` must be masqueraded. */
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
