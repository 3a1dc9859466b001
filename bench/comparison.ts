import { median, ratios, spread } from "./figure.ts";

/** The same work, done in turns by ipmasq and by others. */
export interface Comparison {
  /** As in `new UDP connections`. */
  readonly what: string;
  /** As in `64 CIDRs`: what is said of several of these is said in one sentence. */
  readonly at?: string;
  readonly better: "more" | "less";
  readonly ours: Entry;
  readonly others: readonly Entry[];
}

export interface Entry {
  readonly name: string;
  /** One a round. */
  readonly samples: readonly number[];
}

/** Another did the same work better. */
export interface Lead {
  readonly what: string;
  readonly at: string;
  readonly who: string;
  /** How many times as good as ipmasq. */
  readonly times: number;
}

/** Differences below this are nobody's lead, however steady they look. */
const NOISE = 0.01;

/** Who is ahead of ipmasq by more than the spread of the ratios of what was measured in turns. */
export function leads(comparisons: readonly Comparison[]): Lead[] {
  return comparisons.flatMap(({ what, at = "", better, ours, others }) =>
    others.flatMap(({ name: who, samples }) => {
      const rounds =
        better === "more"
          ? ratios(samples, ours.samples)
          : ratios(ours.samples.slice(0, samples.length), samples);
      const times = median(rounds);
      return times - 1 > Math.max(NOISE, spread(rounds)) ? [{ what, at, who, times }] : [];
    }),
  );
}
