import { Cidr, type Family } from "../../net/cidr.ts";
import { optionOf, targetOf } from "../../xtables/rule.ts";
import type { Counted } from "../../xtables/save.ts";
import type { Counter } from "../backend.ts";
import { helperChains, isExemption, ownChainNames } from "../ownership.ts";
import { isOurs } from "./own-chains.ts";

/** One of our rules with its counts. */
export interface CountedRule {
  /** The destination of the rule. */
  readonly cidr: Cidr | undefined;
  readonly chain: string;
  /** A chain, RETURN, NETMAP, MASQUERADE or SNAT. */
  readonly target: string | undefined;
  readonly packets: number;
  readonly bytes: number;
  /** The kernel's number of the rule, if it is known. */
  readonly handle?: number;
}

/**
 * The counters of a policy's chains. A rule with a destination counts for that CIDR. Other connections are counted by
 * the rule that leads to the masquerading chain, or by the masquerading rules if there is no such chain.
 *
 * @param rulesOf the rules of a chain that count
 * @param chain the chain of the policy
 */
export function counters(
  family: Family,
  rulesOf: (chain: string) => readonly CountedRule[],
  chain: string,
): Counter[] {
  const names = ownChainNames(chain);
  const [, outbound, ...enforcing] = helperChains(chain);
  const found = new Map<string, Counter>();
  for (const { cidr, chain: of, target, packets, bytes, handle } of names.flatMap(rulesOf)) {
    // A chain that binds kept connections returns for exceptions, which other chains count.
    const returns = target === "RETURN" && !enforcing.includes(of);
    const keeps = (returns || target === "NETMAP") && cidr !== undefined;
    const masquerades =
      target === outbound || ((target === "MASQUERADE" || target === "SNAT") && of !== outbound);
    if (!keeps && !masquerades) continue;
    const verdict = keeps ? "keep" : "masquerade";
    const key = `${verdict} ${cidr?.key ?? ""}`;
    const before = found.get(key) ?? { connections: 0, bytes: 0, identity: "" };
    found.set(key, {
      ...{ family, verdict, cidr },
      connections: before.connections + packets,
      bytes: before.bytes + bytes,
      ...(handle !== undefined && { identity: `${before.identity ?? ""} ${handle}` }),
    });
  }
  return [...found.values()];
}

/** The counters in rules that iptables-save prints, or that iptables-restore writes. */
export function savedCounters(
  family: Family,
  chains: ReadonlyMap<string, readonly Counted[]>,
  chain: string,
): Counter[] {
  const rulesOf = (name: string) =>
    (chains.get(name) ?? []).flatMap(({ rule, packets, bytes }): CountedRule[] => {
      if (!isOurs(rule) || isExemption(optionOf(rule, "--comment"))) return [];
      const cidr = Cidr.parse(optionOf(rule, "-d") ?? "");
      const destination = cidr instanceof Cidr ? cidr : undefined;
      return [{ chain: name, target: targetOf(rule), cidr: destination, packets, bytes }];
    });
  return counters(family, rulesOf, chain);
}

/** The counters of one family that exist only after a write. */
export function newCounters(before: readonly Counter[], after: readonly Counter[]): Counter[] {
  const key = ({ verdict, cidr }: Counter) => `${verdict} ${cidr?.text ?? ""}`;
  const known = new Set(before.map(key));
  return after.filter(it => !known.has(key(it)));
}
