import type { Family } from "../../net/cidr.ts";
import { effectText, normalText, optionOf, type Rule, ruleText, targetOf } from "../../xtables/rule.ts";
import { type Counted, POSTROUTING, type Saved, SavedRule } from "../../xtables/save.ts";
import { COMMENT, ownChainNames } from "../ownership.ts";
import { type ChainChange, changeOf, editLines, equivalence, line, textsOf } from "./chain-change.ts";
import { decidesFirst } from "./enforce.ts";
import { isOurs } from "./own-chains.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/** The changes that turn the actual rules of ip-masq-agent and ipmasq into the desired rules. */
export interface Changes {
  readonly chains: readonly ChainChange[];
  /** The chains to delete. */
  readonly leftovers: readonly string[];
  /** The jump to append. */
  readonly jump: Rule | undefined;
  /** The jump to insert before all other rules. */
  readonly first: Rule | undefined;
  /** The jumps to delete. */
  readonly wrong: readonly Rule[];
}

/**
 * The changes from the actual to the desired rules; undefined if the rules are equal. Our rules are compared without
 * their comments: a running ip-masq-agent would write its comments again.
 *
 * @param desired the desired rules; undefined to remove all rules
 * @param own the agent's chain, if `desired` is undefined
 */
export function changesTo(saved: Saved, desired: Ruleset | undefined, own?: string): Changes | undefined {
  const differing = (desired?.chains ?? []).filter(chain => !hasDesired(saved, chain));
  const leftovers = leftoverChains(saved, desired, own);
  const { right, rightFirst, wrong } = jumps(saved, desired, leftovers);
  const jump = desired && !right ? desired.jump : undefined;
  const first = rightFirst ? undefined : desired?.first;
  if (differing.length + leftovers.length + wrong.length === 0 && !jump && !first) return undefined;
  const chains = differing.map(it => changeOf(it, saved.chains.get(it.name)));
  return { chains, leftovers, jump, first, wrong };
}

/** The input of `iptables-restore --noflush --counters` that makes the changes, atomically. */
export function restoreInput(saved: Saved, { chains, leftovers, jump, first, wrong }: Changes): string {
  const whole = chains.filter(({ edits }) => edits === undefined).map(({ chain }) => chain);
  return [
    "*nat",
    ...[...whole.map(({ name }) => name), ...leftovers].map(name => `:${name} - [0:0]`),
    ...chains.flatMap(editLines),
    ...whole.flatMap(chain =>
      counted(saved, chain).map(
        ({ text, packets, bytes }) => `[${packets}:${bytes}] -A ${chain.name} ${text}`,
      ),
    ),
    ...(jump ? [`[0:0] ${line(POSTROUTING, jump)}`] : []),
    ...wrong.map(rule => `-D ${POSTROUTING} ${ruleText(rule)}`),
    // After the deletions, which delete the first of equal rules.
    ...(first ? [`[0:0] ${firstLine(first)}`] : []),
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
  const { right, rightFirst, wrong } = jumps(saved, desired, leftovers);
  let spellings: ReadonlyMap<string, Rule> | undefined;
  const desiredSpellings = () =>
    new Map(desired?.chains.flatMap(({ rules }) => rules.map(it => [normalText(it), it])));
  return [
    ...names.flatMap(name => {
      const chain = desired?.chains.find(it => it.name === name);
      if (chain && hasDesired(saved, chain)) return linesOf(chain);
      spellings ??= desiredSpellings();
      return (saved.chains.get(name) ?? []).map(({ rule }) =>
        line(name, spellings?.get(normalText(rule)) ?? rule),
      );
    }),
    ...(rightFirst && desired?.first ? [firstLine(desired.first)] : []),
    ...(right && desired ? [line(POSTROUTING, desired.jump)] : []),
    ...wrong.map(rule => line(POSTROUTING, rule)),
  ];
}

/** The desired rules, one per line. */
export function desiredLines({ chains, jump, first }: Ruleset): string[] {
  return [...chains.flatMap(linesOf), ...(first ? [firstLine(first)] : []), line(POSTROUTING, jump)];
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

function linesOf(chain: Chain): string[] {
  return textsOf(chain).map(text => `-A ${chain.name} ${text}`);
}

/** The line that inserts a rule before all others of POSTROUTING. */
export function firstLine(rule: Rule): string {
  return `-I ${POSTROUTING} ${ruleText(rule)}`;
}

/** Whether rules are equivalent. Most texts are equal, which is much faster to find out. */
function hasDesired(saved: Saved, chain: Chain): boolean {
  const actual = saved.chains.get(chain.name);
  const { rules } = chain;
  if (actual?.length !== rules.length) return false;
  const texts = textsOf(chain);
  return actual.every(
    (it, i) => it.text === texts[i] || equivalence(it.rule) === equivalence(rules[i] ?? []),
  );
}

/** The rules of a desired chain with the counts of equal actual rules. */
function counted(saved: Saved, chain: Chain): Counted[] {
  const all = saved.chains.get(chain.name) ?? [];
  const texts = textsOf(chain);
  const byText = new Map(all.map(it => [it.text, it]));
  const desired = new Set(texts);
  const others = all.filter(it => !desired.has(it.text));
  const byEquivalence = new Map(others.map(it => [equivalence(it.rule), it]));
  return chain.rules.map((rule, i) => {
    const text = texts[i] ?? "";
    const actual = byText.get(text) ?? (others.length > 0 ? byEquivalence.get(equivalence(rule)) : undefined);
    return new SavedRule(text, actual?.packets, actual?.bytes, rule);
  });
}

/** The desired chains with their counts right after the changes from `saved`. */
export function restored(saved: Saved, { chains }: Ruleset): ReadonlyMap<string, readonly Counted[]> {
  return new Map(
    chains.map(chain => {
      const actual = hasDesired(saved, chain) ? saved.chains.get(chain.name) : undefined;
      return [chain.name, actual ?? counted(saved, chain)] as const;
    }),
  );
}

/** The rules with the arguments that are known from the desired rules, so that they need not be parsed. */
export function withKnownRules({ chains }: Saved, desired: Ruleset): Saved {
  const all = [...chains].map(([name, rules]) => {
    const chain = desired.chains.find(it => it.name === name);
    return [name, chain ? knownRules(rules, chain) : rules] as const;
  });
  return { chains: new Map(all) };
}

function knownRules(rules: readonly Counted[], chain: Chain): Counted[] {
  const texts = textsOf(chain);
  let places: ReadonlyMap<string, number> | undefined;
  const placeOf = (text: string, i: number) => {
    if (texts[i] === text) return i;
    places ??= new Map(texts.map((it, place) => [it, place]));
    return places.get(text) ?? -1;
  };
  return rules.map(
    ({ text, packets, bytes }, i) => new SavedRule(text, packets, bytes, chain.rules[placeOf(text, i)]),
  );
}

/** The actual rules after the changes. */
export function changed(saved: Saved, desired: Ruleset, { leftovers, jump, first, wrong }: Changes): Saved {
  const chains = new Map([...saved.chains, ...restored(saved, desired)]);
  for (const name of leftovers) chains.delete(name);
  const others = (saved.chains.get(POSTROUTING) ?? []).filter(({ rule }) => !wrong.includes(rule));
  const fresh = (rule: Rule | undefined) => (rule ? [new SavedRule(ruleText(rule), 0, 0, rule)] : []);
  chains.set(POSTROUTING, [...fresh(first), ...others, ...fresh(jump)]);
  return { chains };
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

/** The jumps to our chains to keep, and the jumps to delete. */
function jumps(
  saved: Saved,
  desired: Ruleset | undefined,
  leftovers: readonly string[],
): { right: Rule | undefined; rightFirst: Rule | undefined; wrong: Rule[] } {
  const chains = [...(desired?.chains.map(({ name }) => name) ?? []), ...leftovers];
  const all = chains.flatMap(name => jumpsTo(saved, name));
  const fitting = all.filter(rule => desired && effectText(rule) === effectText(desired.jump));
  const ours = fitting.find(rule => desired && normalText(rule) === normalText(desired.jump));
  const right = fitting.find(isUpstreamJump) ?? ours ?? fitting[0];
  const rightFirst = desired?.first && jumpThatDecidesFirst(saved, desired.first);
  return { right, rightFirst, wrong: all.filter(rule => rule !== right && rule !== rightFirst) };
}

/** The rule of POSTROUTING that is equivalent to a jump, if it is the only one and decides before foreign rules. */
function jumpThatDecidesFirst(saved: Saved, jump: Rule): Rule | undefined {
  const rules = (saved.chains.get(POSTROUTING) ?? []).map(({ rule }) => rule);
  const [found, another] = rules.filter(rule => effectText(rule) === effectText(jump));
  if (!found || another) return undefined;
  return decidesFirst(rules.slice(0, rules.indexOf(found)).map(targetOf)) ? found : undefined;
}

/**
 * ip-masq-agent puts the comment of its jump into quotes, which become part of the comment. If ip-masq-agent does not
 * find its jump with this comment, it appends another.
 */
function isUpstreamJump(jump: Rule): boolean {
  return optionOf(jump, "--comment")?.startsWith(`"${COMMENT}`) ?? false;
}
