import type { Statement } from "../../nft/json.ts";
import { byName, type Chain, type Table } from "../../nft/table.ts";
import { COMMENTS } from "../../policy/decision.ts";
import { type FamilyPolicy, isEnforced, type ListName, type Policy } from "../../policy/policy.ts";
import type { Chains } from "../backend-kind.ts";
import { TABLE } from "../ownership.ts";
import { ENFORCE, enforceChain } from "./enforce.ts";
import { dropsLeaks, LEAKS, leakChain } from "./leaks.ts";
import { jumps, keptMarks, keptSources, lookup, masquerades, multicast, RETURN, rule } from "./rules.ts";
import { addressSets } from "./sets.ts";

/** Names of counters. A rewritten rule uses the counter of the old rule. */
const OUTBOUND_COUNTER = "outbound";

/** The base chain, and the chain that masquerades if two rules lead to it. */
const POSTROUTING = "postrouting";
const OUTBOUND = "outbound";

/** The priority of the base chain: after kube-proxy, CNI plugins and iptables (100). */
const PRIORITY = 101;

/** The abilities of nft and kernel that a ruleset depends on. */
export interface Abilities {
  /** Whether elements can have counters. nft lists them since 1.0.6. */
  readonly elementCounters: boolean;
  /** Whether rules can match packets under an IPsec policy. A kernel without xfrm refuses such rules. */
  readonly ipsec: boolean;
}

/** The defaults if nft and kernel are not asked. */
const ALL: Abilities = { elementCounters: true, ipsec: true };

/** The desired tables of a policy, one per family. */
export function ruleset(policy: Policy, abilities = ALL): Table[] {
  return policy.families.map(family => ({
    family: family.family,
    name: TABLE,
    flags: [],
    sets: masqueradesAny(family) ? addressSets(family, abilities.elementCounters) : [],
    chains: chains(policy, family, abilities),
    counters: counterNames(policy, family, abilities).map(name => ({ name })),
    others: [],
  }));
}

/** Tables with only the chain that drops leaks, for `leakGuard`. */
export function leakRuleset(policy: Policy, abilities: Abilities): Table[] {
  return policy.families.map(family => {
    const chains = leakChain(policy, family, abilities);
    return {
      family: family.family,
      name: TABLE,
      flags: [],
      sets: chains.length > 0 ? addressSets(family, false) : [],
      chains,
      counters: chains.map(({ name }) => ({ name })),
      others: [],
    };
  });
}

/** False if `sourceCIDRs` has sources, but only of the other family. */
function masqueradesAny({ sources }: FamilyPolicy): boolean {
  return sources === undefined || sources.effective.length > 0;
}

/** The names of the chains in a desired table. */
export function chainNames(policy: Policy, family: FamilyPolicy): string[] {
  const { chain } = policy;
  if (!masqueradesAny(family)) return [POSTROUTING];
  const enforce = isEnforced(policy, family) ? [ENFORCE] : [];
  const leaks = dropsLeaks(policy, family) ? [LEAKS] : [];
  return [
    ...enforce,
    ...leaks,
    POSTROUTING,
    chain,
    ...(family.masquerade.effective.length > 0 ? [OUTBOUND] : []),
  ];
}

/** The chains that decide about the connections of a family. */
export function decidingChains(policy: Policy, family: FamilyPolicy): Chains {
  const { chain } = policy;
  const { masquerade } = family;
  return {
    ...(isEnforced(policy, family) && { enforce: ENFORCE, enforceDestinations: ENFORCE }),
    base: POSTROUTING,
    check: POSTROUTING,
    verdict: chain,
    outbound: masquerade.effective.length > 0 ? OUTBOUND : chain,
    excludesBroadcast: true,
    excludesInterfaces: true,
    alwaysExempts: false,
  };
}

/** The counters that the rules of a family refer to, sorted by name. */
function counterNames(policy: Policy, family: FamilyPolicy, { elementCounters }: Abilities): string[] {
  if (!masqueradesAny(family)) return [];
  const lists = elementCounters
    ? []
    : [
        ...(family.masquerade.effective.length > 0 ? ["masquerade"] : []),
        ...(family.nonMasquerade.effective.length > 0 ? ["non-masquerade"] : []),
      ];
  return [...(dropsLeaks(policy, family) ? [LEAKS] : []), ...lists, OUTBOUND_COUNTER];
}

function chains(policy: Policy, family: FamilyPolicy, abilities: Abilities): Chain[] {
  const { elementCounters, ipsec } = abilities;
  const postrouting = {
    name: POSTROUTING,
    hook: { type: "nat", hook: "postrouting", prio: PRIORITY, policy: "accept" },
  };
  if (!masqueradesAny(family)) return [{ ...postrouting, rules: [] }];
  const base = {
    ...postrouting,
    rules: [...keptMarks(policy, ipsec, RETURN), multicast(family.family), ...jumps(policy, family)],
  };
  const others = [...enforceChain(policy, family, abilities), ...leakChain(policy, family, abilities)];
  const outbound = masquerades(
    policy,
    family,
    family.masquerade.effective.length > 0 ? null : OUTBOUND_COUNTER,
  );
  const count = (name: string): Statement[] => (elementCounters ? [] : [{ counter: name }]);
  const to = (set: ListName) => lookup(family.family, "daddr", set);
  const keep =
    family.nonMasquerade.effective.length > 0
      ? [rule(COMMENTS["non-masquerade-cidr"], to("non-masquerade"), ...count("non-masquerade"), RETURN)]
      : [];
  if (family.masquerade.effective.length === 0) {
    return [
      ...others,
      base,
      { name: policy.chain, rules: [...keptSources(family, RETURN), ...keep, ...outbound] },
    ];
  }
  const goto = { goto: { target: OUTBOUND } };
  const verdicts = [
    ...keptSources(family, RETURN),
    rule(COMMENTS["masquerade-cidr"], to("masquerade"), ...count("masquerade"), goto),
    ...keep,
    rule(COMMENTS.outbound, { counter: OUTBOUND_COUNTER }, goto),
  ];
  return [
    ...others,
    base,
    ...[
      { name: policy.chain, rules: verdicts },
      { name: OUTBOUND, rules: outbound },
    ].sort(byName),
  ];
}
