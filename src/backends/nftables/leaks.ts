import { outermost } from "../../net/interface-name.ts";
import type { Statement } from "../../nft/json.ts";
import type { Chain, Rule } from "../../nft/table.ts";
import { COMMENTS } from "../../policy/decision.ts";
import type { FamilyPolicy, Policy } from "../../policy/policy.ts";
import { exclusions, keptMarks, keptSources, lookup, match, RETURN, rule } from "./rules.ts";

/** The base chain that drops leaks, and the counter of dropped packets. */
export const LEAKS = "leaks";

/** Its priority: after every source NAT (100), so that translated packets have the node's address. */
const PRIORITY = 300;

/** Whether the policy drops leaks in a family. */
export function dropsLeaks({ dropLeaks }: Policy, { sources }: FamilyPolicy): boolean {
  return dropLeaks && sources !== undefined && sources.effective.length > 0;
}

/**
 * The chain that drops leaks: packets from `sourceCIDRs` that leave untranslated although the policy masquerades them.
 * Empty if the policy drops no leaks in this family. The kernel does not translate packets that conntrack considers invalid,
 * such as a FIN after its entry is gone, nor connections that are older than the policy.
 *
 * @param ipsec whether rules can match packets under an IPsec policy
 */
export function leakChain(
  policy: Policy,
  family: FamilyPolicy,
  { ipsec }: { readonly ipsec: boolean },
): Chain[] {
  if (!dropsLeaks(policy, family)) return [];
  const { family: name } = family;
  const rules = [
    passes("other sources never leak", lookup(name, "saddr", "source", "!=")),
    passes("replies keep their address", match("==", { ct: { key: "direction" } }, "reply")),
    passes("translated, or from the node itself", match("==", SOURCE_TYPE, "local")),
    ...keptMarks(policy, ipsec, RETURN),
    ...exclusions(name),
    ...keptInterfaces(policy),
    ...keptSources(family, RETURN),
    ...drops(family),
  ];
  const hook = { type: "filter", hook: "postrouting", prio: PRIORITY, policy: "accept" };
  return [{ name: LEAKS, hook, rules }];
}

/**
 * Drops packets to masqueraded destinations. The chain looks up every packet, but the elements of the sets count
 * connections. An element counts only if it is found by a match of equality, so these matches are of inequality.
 */
function drops({ family, masquerade, nonMasquerade }: FamilyPolicy): Rule[] {
  const drop: Statement[] = [{ counter: LEAKS }, { drop: null }];
  if (nonMasquerade.effective.length === 0) return [rule(DROPPED.outbound, ...drop)];
  const outbound = rule(DROPPED.outbound, lookup(family, "daddr", "non-masquerade", "!="), ...drop);
  if (masquerade.effective.length === 0) return [outbound];
  return [
    outbound,
    passes(COMMENTS["non-masquerade-cidr"], lookup(family, "daddr", "masquerade", "!=")),
    rule(DROPPED.exceptions, ...drop),
  ];
}

const DROPPED = {
  outbound: `untranslated ${COMMENTS.outbound}`,
  exceptions: `untranslated ${COMMENTS["masquerade-cidr"]}`,
};

/** Lets packets pass that leave by an interface outside of `outputInterfaces`. */
function keptInterfaces({ outputInterfaces }: Policy): Rule[] {
  if (!outputInterfaces) return [];
  const { except } = outputInterfaces;
  const matches = outermost(outputInterfaces.patterns).map(it =>
    match(except ? "==" : "!=", { meta: { key: "oifname" } }, it),
  );
  const rules = except ? matches.map(it => [it]) : [matches];
  return rules.map(expr => passes(COMMENTS["output-interface"], ...expr));
}

function passes(why: string, ...expr: Statement[]): Rule {
  return rule(why, ...expr, RETURN);
}

const SOURCE_TYPE = { fib: { result: "type", flags: ["saddr"] } };
