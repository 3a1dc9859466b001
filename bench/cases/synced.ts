import { CHAINS } from "../baselines/chain.ts";
import { IPMASQ, IPMASQ_IPTABLES } from "../baselines/ipmasq.ts";
import { REAL } from "../baselines/real.ts";
import { ANONYMOUS, KINDNET } from "../baselines/sets.ts";
import type { Cost } from "../meter.ts";

export const BASELINES = [IPMASQ, ...IPMASQ_IPTABLES, ANONYMOUS, KINDNET, ...CHAINS, ...REAL];
export const STEPS = ["first", "same", "one"] as const;
export type Step = (typeof STEPS)[number];

/** Rounds by size. A chain of 100,000 rules is loaded once, and not changed: that takes up to 20 s each time. */
export const ROUNDS: ReadonlyMap<number, number> = new Map([
  [4, 5],
  [64, 5],
  [1000, 5],
  [10_000, 3],
  [100_000, 2],
]);
export const SIZES = [...ROUNDS.keys()];
export const MOST_FOR_CHAINS = 10_000;

/** What one baseline needed for lists of one length. */
export interface Synced {
  readonly baseline: string;
  readonly size: number;
  /** Why it did not get there. */
  failure?: string;
  /** One a round. */
  readonly costs: Readonly<Record<Step, Cost[]>>;
}
