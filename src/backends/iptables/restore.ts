import type { Family } from "../../net/cidr.ts";
import { effectText, normalText, optionOf, type Rule, ruleText, targetOf } from "../../xtables/rule.ts";
import { type Counted, POSTROUTING, type Saved } from "../../xtables/save.ts";
import { COMMENT, ownChainNames } from "../ownership.ts";
import { isOurs } from "./own-chains.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/**
 * The input of `iptables-restore --noflush --counters` that turns the actual rules of ip-masq-agent and ipmasq into
 * the desired rules, atomically; undefined if they are equal. Rewrites chains that differ, and keeps the counts of
 * rules that stay. Compares our rules without their comments: a running ip-masq-agent would write its comments again.
 *
 * @param desired the desired rules; undefined to remove all rules
 * @param own the agent's chain, if `desired` is undefined
 */
export function restoreInput(saved: Saved, desired: Ruleset | undefined, own?: string): string | undefined {
  const chains = (desired?.chains ?? []).filter(chain => !hasDesired(saved, chain));
  const leftovers = leftoverChains(saved, desired, own);
  const { right, wrong } = jumps(saved, desired, leftovers);
  const jump = desired && !right ? [`[0:0] -A ${POSTROUTING} ${ruleText(desired.jump)}`] : [];
  if (chains.length + leftovers.length + wrong.length + jump.length === 0) return undefined;
  return [
    "*nat",
    ...[...chains.map(({ name }) => name), ...leftovers].map(name => `:${name} - [0:0]`),
    ...chains.flatMap(chain =>
      counted(saved, chain).map(
        ({ rule, packets, bytes }) => `[${packets}:${bytes}] ${line(chain.name, rule)}`,
      ),
    ),
    ...jump,
    ...wrong.map(rule => `-D ${POSTROUTING} ${ruleText(rule)}`),
    ...leftovers.map(name => `-X ${name}`),
    "COMMIT",
    "",
  ].join("\n");
}

/**
 * The actual rules of ip-masq-agent and ipmasq, one per line. Rules that are equivalent to desired rules have the same
 * text.
 */
export function actualLines(saved: Saved, desired: Ruleset | undefined, own?: string): string[] {
  const leftovers = leftoverChains(saved, desired, own);
  const names = [...(desired?.chains.map(({ name }) => name) ?? []), ...leftovers];
  const { right, wrong } = jumps(saved, desired, leftovers);
  let spellings: ReadonlyMap<string, Rule> | undefined;
  const desiredSpellings = () =>
    new Map(desired?.chains.flatMap(({ rules }) => rules.map(it => [normalText(it), it])));
  return [
    ...names.flatMap(name => {
      const chain = desired?.chains.find(it => it.name === name);
      if (chain && hasDesired(saved, chain)) return chain.rules.map(rule => line(name, rule));
      spellings ??= desiredSpellings();
      return (saved.chains.get(name) ?? []).map(({ rule }) =>
        line(name, spellings?.get(normalText(rule)) ?? rule),
      );
    }),
    ...(right && desired ? [line(POSTROUTING, desired.jump)] : []),
    ...wrong.map(rule => line(POSTROUTING, rule)),
  ];
}

/** The desired rules, one per line. */
export function desiredLines({ chains, jump }: Ruleset): string[] {
  return [
    ...chains.flatMap(({ name, rules }) => rules.map(rule => line(name, rule))),
    line(POSTROUTING, jump),
  ];
}

/** The rules of POSTROUTING that lead to chains of ip-masq-agent or ipmasq. */
export function jumpsOf(saved: Saved, own?: string): Rule[] {
  return jumps(saved, undefined, leftoverChains(saved, undefined, own)).wrong;
}

/** Rules as command lines of iptables. */
export function prefixed(family: Family, lines: readonly string[]): string[] {
  const program = family === "ip" ? "iptables" : "ip6tables";
  return lines.map(line => `${program} -t nat ${line}`);
}

function line(chain: string, rule: Rule): string {
  return `-A ${chain} ${ruleText(rule)}`;
}

function hasDesired(saved: Saved, { name, rules }: Chain): boolean {
  const actual = saved.chains.get(name);
  return actual?.length === rules.length && actual.every(({ rule }, i) => isSame(rule, rules[i] ?? []));
}

/** The rules of a desired chain with the counts of equal actual rules. */
function counted(saved: Saved, { name, rules }: Chain): Counted[] {
  const actual = new Map(saved.chains.get(name)?.map(it => [equivalence(it.rule), it]));
  return rules.map(rule => {
    const { packets, bytes } = actual.get(equivalence(rule)) ?? { packets: 0, bytes: 0 };
    return { rule, packets, bytes };
  });
}

/** The desired chains with their counts right after `restoreInput` was restored. */
export function restored(saved: Saved, { chains }: Ruleset): ReadonlyMap<string, readonly Counted[]> {
  return new Map(
    chains.map(chain => {
      const actual = hasDesired(saved, chain) ? saved.chains.get(chain.name) : undefined;
      return [chain.name, actual ?? counted(saved, chain)] as const;
    }),
  );
}

/**
 * Chains of ip-masq-agent and ipmasq that are not desired: chains with our names, chains with only recognisable rules
 * of either program, and empty chains that one of our jumps leads to.
 *
 * @param own the agent's chain, if `desired` is undefined
 */
function leftoverChains(saved: Saved, desired: Ruleset | undefined, own?: string): string[] {
  const names = new Set(desired?.chains.map(({ name }) => name));
  const known = ownChainNames(desired?.chains[0]?.name ?? own);
  const ours = [...saved.chains].filter(([name, rules]) => {
    if (names.has(name) || name === POSTROUTING || BUILT_IN.has(name)) return false;
    if (known.includes(name)) return true;
    return rules.length > 0 ? rules.every(({ rule }) => isOurs(rule)) : jumpsTo(saved, name).some(isOurs);
  });
  return ours.map(([name]) => name);
}

const BUILT_IN = new Set(["PREROUTING", "INPUT", "OUTPUT"]);

/** The rules of POSTROUTING that lead to a chain. */
function jumpsTo(saved: Saved, chain: string): Rule[] {
  const rules = saved.chains.get(POSTROUTING) ?? [];
  return rules.map(({ rule }) => rule).filter(rule => targetOf(rule) === chain);
}

/** The jump to our chains to keep, and the jumps to delete. */
function jumps(
  saved: Saved,
  desired: Ruleset | undefined,
  leftovers: readonly string[],
): { right: Rule | undefined; wrong: Rule[] } {
  const chains = [...(desired?.chains.map(({ name }) => name) ?? []), ...leftovers];
  const all = chains.flatMap(name => jumpsTo(saved, name));
  const fitting = all.filter(rule => desired && effectText(rule) === effectText(desired.jump));
  const ours = fitting.find(rule => desired && normalText(rule) === normalText(desired.jump));
  const right = fitting.find(isUpstreamJump) ?? ours ?? fitting[0];
  return { right, wrong: all.filter(rule => rule !== right) };
}

/** Whether rules are equivalent. Most are equal word for word, which is much faster to find out. */
function isSame(one: Rule, other: Rule): boolean {
  return (
    (one.length === other.length && one.every((word, i) => word === other[i])) ||
    equivalence(one) === equivalence(other)
  );
}

/** A text that is equal for equivalent rules. */
function equivalence(rule: Rule): string {
  return isOurs(rule) ? effectText(rule) : normalText(rule);
}

/**
 * ip-masq-agent puts the comment of its jump into quotes, which become part of the comment. If ip-masq-agent does not
 * find its jump with this comment, it appends another.
 */
function isUpstreamJump(jump: Rule): boolean {
  return optionOf(jump, "--comment")?.startsWith(`"${COMMENT}`) ?? false;
}
