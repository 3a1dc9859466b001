import type { Family } from "../../net/cidr.ts";
import { optionOf, type Rule, targetOf } from "../../xtables/rule.ts";
import { POSTROUTING, type ReadChain, type Saved } from "../../xtables/save.ts";
import type { PollTarget, Watch, Watcher } from "../backend.ts";
import type { Memory } from "../memory.ts";
import { helperChains, isOurComment, ownChainNames } from "../ownership.ts";
import { watchTransactions } from "../watch.ts";

/** Whether a rule is ours by its comment; see {@link isOurComment}. */
export function isOurs(rule: Rule): boolean {
  return isOurComment(optionOf(rule, "--comment"));
}

/**
 * POSTROUTING and the chains of table `nat` that may be ours. These have the given names, or rules of an ip-masq-agent
 * in POSTROUTING lead to them, directly or through other chains.
 */
export async function readOwnChains(read: ReadChain, names: readonly string[]): Promise<Saved> {
  const chains = await walkChains(read, names, rules =>
    rules.flatMap(it => (KEEPS.test(it.text) ? [] : ownTarget(targetOf(it.rule), isOurs(it.rule)))),
  );
  return { chains };
}

/** The end of most rules. They lead to no chain, and are not parsed. */
const KEEPS = / -j (RETURN|NETMAP --to [\d.:]+\/0)$/;

/**
 * Reads POSTROUTING, the chains with the given names, and all chains that `targets` finds in them. Reads one chain at a
 * time, so the cost does not depend on foreign rules.
 */
export async function walkChains<Rules>(
  read: (chain: string) => Promise<Rules | undefined>,
  names: readonly string[],
  targets: (rules: Rules) => readonly string[],
): Promise<Map<string, Rules>> {
  const chains = new Map<string, Rules>();
  const seen = new Set<string>();
  for (let next = [...new Set([POSTROUTING, ...names])]; next.length > 0; ) {
    for (const name of next) seen.add(name);
    const found = await Promise.all(next.map(async name => ({ name, rules: await read(name) })));
    const all = new Set<string>();
    for (const { name, rules } of found) {
      if (rules === undefined) continue;
      chains.set(name, rules);
      const led = targets(rules);
      // A policy with another chain name may have left a helper chain that no rule leads to.
      const renamed = name === POSTROUTING ? led.filter(it => !names.includes(it)) : [];
      for (const it of [...led, ...renamed.flatMap(helperChains)]) all.add(it);
    }
    next = [...all].filter(name => !seen.has(name));
  }
  return chains;
}

/** The chain that a rule leads to, if an ip-masq-agent wrote the rule or named the chain. */
export function ownTarget(target: string | undefined, isOurs: boolean): string[] {
  if (target === undefined || TARGETS.has(target)) return [];
  return isOurs || target.startsWith("IP-MASQ") ? [target] : [];
}

/** Targets of our rules that are not chains. */
const TARGETS: ReadonlySet<string> = new Set(["RETURN", "ACCEPT", "MASQUERADE", "SNAT", "NETMAP"]);

/**
 * Reports transactions that may have changed our chains or the jump to them, in tables `nat` of nftables. Ignores other
 * chains of these tables, which kube-proxy changes often.
 */
export function watchNat(
  nft: readonly string[],
  chain: string,
  target: PollTarget,
  watcher: Watcher,
  memory: Memory<Family, unknown>,
): Watch {
  const chains = [POSTROUTING, ...ownChainNames(chain)];
  const ours = {
    test(line: string): boolean {
      const [, kind, chain = ""] = NAT.exec(line) ?? [];
      return kind === "table" || (kind !== undefined && chains.includes(chain));
    },
  };
  return watchTransactions(nft, ours, target, watcher, memory);
}

const NAT = /^\w+ (table|chain|rule) ip6? nat(?:\s+(\S+)|$)/;
