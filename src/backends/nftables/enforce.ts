import { bindSource, withMark } from "../../nft/statements.ts";
import type { Chain, Rule } from "../../nft/table.ts";
import { COMMENTS } from "../../policy/decision.ts";
import { type FamilyPolicy, isEnforced, type Policy } from "../../policy/policy.ts";
import { ENFORCE_PRIORITY, FOREIGN_MARKED } from "../ownership.ts";
import { exclusions, interfaceMatches, keptMarks, keptSources, lookup, RETURN, rule } from "./rules.ts";

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

/** Returns for packets that foreign rules masquerade by a mark, and for packets that the policy does not judge. */
function others({ foreignMasqueradeMarks }: Policy, { family }: FamilyPolicy): Rule[] {
  const marked = foreignMasqueradeMarks.map(mark => rule(FOREIGN_MARKED, withMark(mark), RETURN));
  return [...marked, ...exclusions(family)];
}

function binding(
  policy: Policy,
  family: FamilyPolicy,
  { elementCounters, ipsec }: { readonly elementCounters: boolean; readonly ipsec: boolean },
): Rule[] {
  const { family: name, sources, masquerade, nonMasquerade } = family;
  const bind = bindSource(name);
  const kept = [
    ...(sources ? [lookup(name, "saddr", "source")] : []),
    ...(masquerade.effective.length > 0 ? [lookup(name, "daddr", "masquerade", "!=")] : []),
    lookup(name, "daddr", "non-masquerade"),
    ...(elementCounters ? [] : [{ counter: "non-masquerade" }]),
    bind,
  ];
  return [
    ...keptMarks(policy, ipsec, bind),
    ...keptSources(family, bind),
    ...(nonMasquerade.effective.length > 0
      ? interfaceMatches(policy.outputInterfaces).map(out =>
          rule(COMMENTS["non-masquerade-cidr"], ...out, ...kept),
        )
      : []),
  ];
}
