import { UNDER_IPSEC } from "../../nft/ipsec.ts";
import { bindSource, withMark } from "../../nft/statements.ts";
import type { Chain, Rule } from "../../nft/table.ts";
import { type FamilyPolicy, isEnforced, type Policy } from "../../policy/policy.ts";
import { COMMENTS, ENFORCE_PRIORITY, FOREIGN_MARKED } from "../ownership.ts";
import { exclusions, interfaceMatches, lookup, rule } from "./rules.ts";

/** The base chain that binds kept connections to their source. */
export const ENFORCE = "enforce";

/**
 * The chain that binds kept connections to their source; none if the policy does not enforce.
 *
 * A connection that is masqueraded must not count as kept, and must not count twice: an element counts only if it is
 * found by a match of equality. So exceptions are matched by inequality, before the CIDRs around them.
 *
 * @param abilities whether elements have counters, and whether rules can match packets under an IPsec policy
 */
export function enforceChain(
  policy: Policy,
  family: FamilyPolicy,
  abilities: { readonly elementCounters: boolean; readonly ipsec: boolean },
): Chain[] {
  if (!isEnforced(policy, family)) return [];
  const hook = { type: "nat", hook: "postrouting", prio: ENFORCE_PRIORITY, policy: "accept" };
  return [{ name: ENFORCE, hook, rules: [...others(policy, family), ...binding(policy, family, abilities)] }];
}

/** Leaves alone what foreign rules masquerade by a mark, and what the policy does not decide. */
function others({ foreignMasqueradeMarks }: Policy, { family }: FamilyPolicy): Rule[] {
  const marked = foreignMasqueradeMarks.map(mark => rule(FOREIGN_MARKED, withMark(mark), { return: null }));
  return [...marked, ...exclusions(family)];
}

function binding(
  { nonMasqueradeMarks, outputInterfaces }: Policy,
  { family, sources, nonMasqueradeSources, masquerade, nonMasquerade }: FamilyPolicy,
  { elementCounters, ipsec }: { readonly elementCounters: boolean; readonly ipsec: boolean },
): Rule[] {
  const bind = bindSource(family);
  const kept = [
    ...(sources ? [lookup(family, "saddr", "source")] : []),
    ...(masquerade.effective.length > 0 ? [lookup(family, "daddr", "masquerade", "!=")] : []),
    lookup(family, "daddr", "non-masquerade"),
    ...(elementCounters ? [] : [{ counter: "non-masquerade" }]),
    bind,
  ];
  return [
    ...(ipsec ? [rule(COMMENTS.ipsec, UNDER_IPSEC, bind)] : []),
    ...nonMasqueradeMarks.map(mark => rule(COMMENTS["non-masquerade-mark"], withMark(mark), bind)),
    ...(nonMasqueradeSources.effective.length > 0
      ? [rule(COMMENTS["non-masquerade-source-cidr"], lookup(family, "saddr", "non-masquerade-source"), bind)]
      : []),
    ...(nonMasquerade.effective.length > 0
      ? interfaceMatches(outputInterfaces).map(out => rule(COMMENTS["non-masquerade-cidr"], ...out, ...kept))
      : []),
  ];
}
