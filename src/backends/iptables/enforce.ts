import type { Family } from "../../net/cidr.ts";
import type { Mark } from "../../net/mark.ts";
import { BOUND_STEPS, COMMENTS } from "../../policy/decision.ts";
import { optionOf, type Rule, targetOf } from "../../xtables/rule.ts";
import { netmap } from "../../xtables/support.ts";
import { COMMENT, FOREIGN_MARKED, helperChains } from "../ownership.ts";

interface Chain {
  readonly name: string;
  readonly rules: readonly Rule[];
}

/**
 * The chains that bind kept connections to their source, and the jump to them that must come first in POSTROUTING. The
 * chains of the policy stay where they are: rules of other programs that translate or exempt connections keep their
 * effect on those that the policy masquerades.
 *
 * @param chains the chains of the policy, the policy's own chain first
 * @param marks the marks of packets that foreign rules masquerade
 */
export function enforcement(
  chains: readonly Chain[],
  family: Family,
  marks: readonly Mark[],
): { readonly first: Rule; readonly chains: readonly Chain[] } {
  const [verdicts, outbound, enforce, enforceDestinations] = helperChains(chains[0]?.name ?? "");
  const binding = (rules: readonly Rule[]) =>
    rules.flatMap(rule => bindingRule(rule, family, outbound, { [verdicts]: enforceDestinations }));
  const rules = binding(chains[0]?.rules ?? []);
  // A packet to many receivers may also be under an IPsec policy.
  const isForMany = (rule: Rule) => FOR_MANY.has(whyOf(rule));
  const inOrder = [...rules.filter(isForMany), ...rules.filter(rule => !isForMany(rule))];
  const inner = chains.find(({ name }) => name === verdicts);
  return {
    first: jumpTo(enforce),
    chains: [
      { name: enforce, rules: [...foreignMarked(marks), ...inOrder] },
      ...(inner ? [{ name: enforceDestinations, rules: binding(inner.rules) }] : []),
    ],
  };
}

/** Returns for packets that foreign rules masquerade. */
export function foreignMarked(marks: readonly Mark[]): Rule[] {
  return marks.map(({ text }) => commented(FOREIGN_MARKED, ["-m", "mark", "--mark", text], ["-j", "RETURN"]));
}

/** A rule without addresses. */
export function commented(why: string, match: Rule, target: Rule): Rule {
  return ["-m", "comment", "--comment", `${COMMENT}${why}`, ...match, ...target];
}

/** The rule that does the same before foreign rules, except that it does not masquerade. */
function bindingRule(
  rule: Rule,
  family: Family,
  outbound: string,
  names: Readonly<Record<string, string>>,
): Rule[] {
  const target = targetOf(rule) ?? "";
  const before = rule.slice(0, -2);
  if (target === "RETURN") return [BOUND.has(whyOf(rule)) ? [...before, ...netmap(family)] : rule];
  if (target === outbound && rule.includes("-d")) return [[...before, "-j", "RETURN"]];
  const to = names[target];
  return to === undefined ? [] : [[...before, "-g", to]];
}

function whyOf(rule: Rule): string {
  return (optionOf(rule, "--comment") ?? "").slice(COMMENT.length);
}

/** The comments on rules whose connections are bound. */
const BOUND: ReadonlySet<string> = new Set(BOUND_STEPS.map(step => COMMENTS[step]));

const FOR_MANY: ReadonlySet<string> = new Set([COMMENTS.multicast, COMMENTS.broadcast]);

function jumpTo(chain: string): Rule {
  const why = `ensure nat POSTROUTING directs kept connections through ${chain} first`;
  return commented(why, ["-m", "addrtype", "!", "--dst-type", "LOCAL"], ["-j", chain]);
}

/** Chains of kube-proxy and of the CNI plugin portmap that translate only packets with their mark. */
const MARKED_ONLY: ReadonlySet<string> = new Set(["KUBE-POSTROUTING", "CNI-HOSTPORT-MASQ"]);

/**
 * Whether the rule of POSTROUTING that leads to our chain decides first. Rules for packets with a foreign mark may
 * come before it: kube-proxy and portmap insert them at the top.
 *
 * @param targets the targets of the rules before it
 */
export function decidesFirst(targets: readonly (string | undefined)[]): boolean {
  return targets.every(it => it !== undefined && MARKED_ONLY.has(it));
}
