import { optionOf, type Rule, targetOf } from "../../xtables/rule.ts";
import { POSTROUTING, type ReadChain, type Saved } from "../../xtables/save.ts";
import { isOurComment } from "../ownership.ts";

/** Whether a rule is ours by its comment; see {@link isOurComment}. */
export function isOurs(rule: Rule): boolean {
  return isOurComment(optionOf(rule, "--comment"));
}

/**
 * POSTROUTING and the chains that may be ours, as table `nat` has them: those named, those that rules of an
 * ip-masq-agent in POSTROUTING lead to, and those that these lead to.
 */
export async function readOwnChains(read: ReadChain, names: readonly string[]): Promise<Saved> {
  const chains = await walkChains(read, names, rules =>
    rules.flatMap(({ rule }) => ownTarget(targetOf(rule), isOurs(rule))),
  );
  return { chains };
}

/**
 * Reads POSTROUTING, the chains named, and all that `targets` finds in those. Reads chain by chain, so the cost does
 * not depend on foreign rules.
 */
export async function walkChains<Rules>(
  read: (chain: string) => Promise<Rules | undefined>,
  names: readonly string[],
  targets: (rules: Rules) => readonly string[],
): Promise<Map<string, Rules>> {
  const chains = new Map<string, Rules>();
  const asked = new Set<string>();
  for (let next = [...new Set([POSTROUTING, ...names])]; next.length > 0; ) {
    for (const name of next) asked.add(name);
    const found = await Promise.all(next.map(async name => ({ name, rules: await read(name) })));
    const all = new Set<string>();
    for (const { name, rules } of found) {
      if (rules === undefined) continue;
      chains.set(name, rules);
      for (const target of targets(rules)) all.add(target);
    }
    next = [...all].filter(name => !asked.has(name));
  }
  return chains;
}

/** The chain that a rule leads to, if the rule or the chain's name is one of an ip-masq-agent's. */
export function ownTarget(target: string | undefined, isOurs: boolean): string[] {
  if (target === undefined || TARGETS.has(target)) return [];
  return isOurs || target.startsWith("IP-MASQ") ? [target] : [];
}

/** Targets of our rules that are not chains. */
const TARGETS: ReadonlySet<string> = new Set(["RETURN", "ACCEPT", "MASQUERADE", "NETMAP"]);
