import { CHAINS } from "../contestants/chain.ts";
import { IPMASQ, IPMASQ_IPTABLES } from "../contestants/ipmasq.ts";
import { FORWARDING, PLAIN } from "../contestants/references.ts";
import { ANONYMOUS, KINDNET } from "../contestants/sets.ts";
import type { Sender } from "../wire/slice.ts";

export const SIZES = [4, 64, 1000, 10_000, 100_000];
export const MATCHES = ["first", "last", "none"] as const;
export const CONTESTANTS = [FORWARDING, PLAIN, IPMASQ, ANONYMOUS, KINDNET, ...IPMASQ_IPTABLES, ...CHAINS];

export type Match = (typeof MATCHES)[number];

/** What one contestant did with one list. */
export interface Tried {
  readonly contestant: string;
  readonly size: number;
  /** Why it did not get there. */
  readonly failure?: string;
  /** New connections a second, one number a round. */
  readonly rates: Readonly<Record<Sender, Record<Match, number[]>>>;
}
