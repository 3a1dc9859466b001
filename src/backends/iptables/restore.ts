import type { Family } from "../../net/cidr.ts";
import { effectText, normalText, optionOf, type Rule, ruleText, targetOf } from "../../xtables/rule.ts";
import { type Counted, POSTROUTING, type Saved } from "../../xtables/save.ts";
import { COMMENT, ownChainNames } from "../ownership.ts";
import { isOurs } from "./own-chains.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/**
 * What `iptables-restore --noflush --counters` has to be given so that table `nat` holds what is desired and nothing
 * else of ip-masq-agent's or ours; undefined if it does. Chains that differ are rewritten, with the counts of the
 * rules that stay. Rules go by what they do, whatever ip-masq-agent says in their comments: it may still be there, and
 * would write them again. All of it takes effect at once.
 *
 * @param desired undefined to take everything away
 * @param own the chain that the agent is to have, if everything is to go
 */
export function restoreInput(saved: Saved, desired: Ruleset | undefined, own?: string): string | undefined {
  const chains = (desired?.chains ?? []).filter(chain => !isActual(saved, chain));
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

/** The rules of ip-masq-agent's and ours, a line each; what means the same as in `desired` in the words of that. */
export function actualLines(saved: Saved, desired: Ruleset | undefined, own?: string): string[] {
  const leftovers = leftoverChains(saved, desired, own);
  const names = [...(desired?.chains.map(({ name }) => name) ?? []), ...leftovers];
  const { right, wrong } = jumps(saved, desired, leftovers);
  let words: ReadonlyMap<string, Rule> | undefined;
  const desiredWords = () =>
    new Map(desired?.chains.flatMap(({ rules }) => rules.map(it => [normalText(it), it])));
  return [
    ...names.flatMap(name => {
      const chain = desired?.chains.find(it => it.name === name);
      if (chain && isActual(saved, chain)) return chain.rules.map(rule => line(name, rule));
      words ??= desiredWords();
      return (saved.chains.get(name) ?? []).map(({ rule }) =>
        line(name, words?.get(normalText(rule)) ?? rule),
      );
    }),
    ...(right && desired ? [line(POSTROUTING, desired.jump)] : []),
    ...wrong.map(rule => line(POSTROUTING, rule)),
  ];
}

/** The rules that are desired, a line each. */
export function desiredLines({ chains, jump }: Ruleset): string[] {
  return [
    ...chains.flatMap(({ name, rules }) => rules.map(rule => line(name, rule))),
    line(POSTROUTING, jump),
  ];
}

/** The rules of POSTROUTING that lead to chains of ip-masq-agent's or ours. */
export function jumpsOf(saved: Saved, own?: string): Rule[] {
  return jumps(saved, undefined, leftoverChains(saved, undefined, own)).wrong;
}

/** Lines of rules as one would type them. */
export function prefixed(family: Family, lines: readonly string[]): string[] {
  const program = family === "ip" ? "iptables" : "ip6tables";
  return lines.map(line => `${program} -t nat ${line}`);
}

function line(chain: string, rule: Rule): string {
  return `-A ${chain} ${ruleText(rule)}`;
}

function isActual(saved: Saved, { name, rules }: Chain): boolean {
  const actual = saved.chains.get(name);
  return actual?.length === rules.length && actual.every(({ rule }, i) => isSame(rule, rules[i] ?? []));
}

/** The rules of a chain with the counts that equal ones have. */
function counted(saved: Saved, { name, rules }: Chain): Counted[] {
  const actual = new Map(saved.chains.get(name)?.map(it => [meaning(it.rule), it]));
  return rules.map(rule => {
    const { packets, bytes } = actual.get(meaning(rule)) ?? { packets: 0, bytes: 0 };
    return { rule, packets, bytes };
  });
}

/** The chains that are desired, with the counts that their rules begin with when `restoreInput` was restored. */
export function restored(saved: Saved, { chains }: Ruleset): ReadonlyMap<string, readonly Counted[]> {
  return new Map(
    chains.map(chain => {
      const actual = isActual(saved, chain) ? saved.chains.get(chain.name) : undefined;
      return [chain.name, actual ?? counted(saved, chain)] as const;
    }),
  );
}

/**
 * Chains that ip-masq-agent or we made under another name, or for what is desired no more: those of which each rule is
 * recognisably ours, empty ones that a jump of ours leads to, and those of the policy's own names.
 *
 * @param own the chain that the agent is to have, if nothing is desired
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

/** The jump that may stay, if there is one, and those that may not. */
function jumps(
  saved: Saved,
  desired: Ruleset | undefined,
  leftovers: readonly string[],
): { right: Rule | undefined; wrong: Rule[] } {
  const chains = [...(desired?.chains.map(({ name }) => name) ?? []), ...leftovers];
  const all = chains.flatMap(name => jumpsTo(saved, name));
  const fitting = all.filter(rule => desired && effectText(rule) === effectText(desired.jump));
  const ours = fitting.find(rule => desired && normalText(rule) === normalText(desired.jump));
  const right = fitting.find(isIncumbents) ?? ours ?? fitting[0];
  return { right, wrong: all.filter(rule => rule !== right) };
}

/** Whether rules are the same to us. Mostly they are word for word, which is told in a fraction of the time. */
function isSame(one: Rule, other: Rule): boolean {
  return (
    (one.length === other.length && one.every((word, i) => word === other[i])) ||
    meaning(one) === meaning(other)
  );
}

/** Rules for which this is the same are the same to us. */
function meaning(rule: Rule): string {
  return isOurs(rule) ? effectText(rule) : normalText(rule);
}

/** ip-masq-agent puts the comment of its jump into quotes, which become part of it, and appends one if it sees none. */
function isIncumbents(jump: Rule): boolean {
  return optionOf(jump, "--comment")?.startsWith(`"${COMMENT}`) ?? false;
}
