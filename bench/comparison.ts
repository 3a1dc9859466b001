import { median, ratios, spread } from "./figure.ts";

/** The same work, done in turns by ipmasq and by others. One sample per round. */
export interface Comparison {
  /** As in `Sync, first load, time`. */
  readonly what: string;
  /** As in `64 CIDRs`. */
  readonly at?: string;
  readonly better: "more" | "less";
  readonly ours: readonly number[];
  readonly others: readonly (readonly [name: string, samples: readonly number[]])[];
}

/** A smaller difference is noise, even if it is steady. */
const NOISE = 0.01;

/** Returns who is ahead by more than the spread, and how many times as good they are; the best first. */
export function leads({ better, ours, others }: Comparison): [name: string, times: number][] {
  return others
    .flatMap(([name, theirs]): [string, number][] => {
      const rounds = better === "more" ? ratios(theirs, ours) : ratios(ours.slice(0, theirs.length), theirs);
      const times = median(rounds);
      return times - 1 > Math.max(NOISE, spread(rounds)) ? [[name, times]] : [];
    })
    .sort(([, a], [, b]) => b - a);
}
