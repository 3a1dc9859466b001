import { CHAINS } from "../baselines/chain.ts";
import { IPMASQ, IPMASQ_IPTABLES } from "../baselines/ipmasq.ts";
import { FORWARDING, PLAIN } from "../baselines/references.ts";
import { ANONYMOUS, KINDNET } from "../baselines/sets.ts";
import type { Sender } from "../wire/slice.ts";

export const SIZES = [4, 64, 1000, 10_000, 100_000];
export const MATCHES = ["first", "last", "none"] as const;
export const BASELINES = [FORWARDING, PLAIN, IPMASQ, ANONYMOUS, KINDNET, ...IPMASQ_IPTABLES, ...CHAINS];

export type Match = (typeof MATCHES)[number];

/** What one baseline did with one list. */
export interface Tried {
  readonly baseline: string;
  readonly size: number;
  /** Why it did not get there. */
  readonly failure?: string;
  /** New connections a second, one number a round. */
  readonly rates: Readonly<Record<Sender, Record<Match, number[]>>>;
}
