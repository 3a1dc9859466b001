import { TABLE } from "../backends/ownership.ts";
import type { TraceableRule } from "../net/trace.ts";
import type { BaseChain, TableFamily } from "../nft/json.ts";
import { POSTROUTING } from "../xtables/save.ts";

/** A base chain at postrouting that may translate source addresses, and the chains that it leads to. */
export interface NatHook {
  /** The program that can read it: iptables-nft cannot read a chain that contains native nft rules. */
  readonly tool: "nft" | "iptables-nft" | "iptables-legacy";
  readonly family: TableFamily;
  readonly table: string;
  /** The name of the base chain. */
  readonly base: string;
  /** Lower priorities run first. */
  readonly priority: number;
  /** If base chains have the same priority, the chain that was registered last runs first. True if unknown. */
  readonly registeredAfterUs: boolean;
  /** The chains that were read. Chains of expected owners are not read. */
  readonly chains: ReadonlyMap<string, readonly TraceableRule[]>;
}

/** The base chain of iptables. */
export const NAT = { table: "nat", name: POSTROUTING, prio: 100 } as const;

/** The priority of our base chain with the nftables backend. */
export const OUR_PRIORITY = 101;

/** Whether it is the base chain of iptables, which nft can also write to. */
export function isNat({ table, base, priority }: NatHook): boolean {
  return table === NAT.table && base === NAT.name && priority === NAT.prio;
}

/**
 * Whether a base chain was registered after ours of the same priority. The kernel lists the chains of older tables first,
 * so a new chain in an older table counts as old.
 */
export function isRegisteredAfterUs(
  { family, table, name, prio }: Omit<BaseChain, "type" | "hook">,
  all: readonly BaseChain[],
): boolean {
  const own = (it: BaseChain) => it.table === TABLE || (it.table === NAT.table && it.name === NAT.name);
  const ours = all.findIndex(
    it => own(it) && it.prio === prio && (family === "inet" || it.family === family),
  );
  const theirs = all.findIndex(it => it.family === family && it.table === table && it.name === name);
  return theirs > ours;
}
