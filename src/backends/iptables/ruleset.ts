import type { Family } from "../../net/cidr.ts";
import { MULTICAST } from "../../net/group-address.ts";
import { formatPortRange, portCount } from "../../net/ports.ts";
import type { FamilyPolicy, Policy } from "../../policy/policy.ts";
import type { Rule } from "../../xtables/rule.ts";
import { COMMENT, helperChains } from "../ownership.ts";

/** What we own of table `nat` in one family: chains of ours, and one rule in POSTROUTING. */
export interface Ruleset {
  readonly family: Family;
  readonly jump: Rule;
  /** The policy's own chain first. */
  readonly chains: readonly Chain[];
}

export interface Chain {
  readonly name: string;
  readonly rules: readonly Rule[];
}

/** What iptables and the kernel can do, as far as a ruleset depends on it. */
interface Abilities {
  /** Whether iptables knows `--random-fully`, as it does from 1.6.2 on. */
  readonly randomFully: boolean;
  /** Whether rules can match packets under an IPsec policy: a kernel without xfrm refuses them. */
  readonly ipsec: boolean;
}

/** Of iptables and kernel where they are not asked. */
const ALL: Abilities = { randomFully: true, ipsec: true };

/**
 * The rules that a policy wants in one family: one chain, as ip-masq-agent has it. What ip-masq-agent does not know
 * takes further chains: sources and interfaces one for the verdicts behind them, exceptions one for the masquerading
 * that two rules then need.
 *
 * The exemptions come first. They cannot be in POSTROUTING: a RETURN there would also end NAT for foreign rules.
 */
export function ruleset(policy: Policy, family: FamilyPolicy, abilities = ALL): Ruleset {
  const { randomFully, ipsec } = abilities;
  const { chain } = policy;
  const [verdictChain, outboundChain] = helperChains(chain);
  const outbound = masquerades(policy, randomFully);
  const gates = gatesOf(policy, family, verdictChain);
  const spared = family.nonMasqueradeSources.effective.map(({ cidr }) =>
    rule(["-s", cidr.text], "non-masquerade sources", [], ["-j", "RETURN"]),
  );
  const exceptions = family.masquerade.effective.map(({ cidr }) =>
    rule(["-d", cidr.text], "exceptions from cluster-local traffic", [], ["-g", outboundChain]),
  );
  const keep = family.nonMasquerade.effective.map(({ cidr }) =>
    rule(["-d", cidr.text], "cluster-local traffic", [], ["-j", "RETURN"]),
  );
  const rest = exceptions.length > 0 ? [rule([], "outbound traffic", [], ["-g", outboundChain])] : outbound;
  const verdicts = [...exceptions, ...keep, ...rest];
  return {
    family: family.family,
    jump: jumpTo(chain),
    chains: [
      { name: chain, rules: [...exemptions(family.family, ipsec), ...spared, ...(gates ?? verdicts)] },
      ...(gates ? [{ name: verdictChain, rules: verdicts }] : []),
      ...(exceptions.length > 0 ? [{ name: outboundChain, rules: outbound }] : []),
    ],
  };
}

/** The rule that ip-masq-agent appends to POSTROUTING, word for word. */
function jumpTo(chain: string): Rule {
  const why = `ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom ${chain} chain`;
  return rule([], why, ["-m", "addrtype", "!", "--dst-type", "LOCAL"], ["-j", chain]);
}

/** What is never masqueraded, whatever the policy says. IPv6 has no broadcast. */
function exemptions(family: Family, ipsec: boolean): Rule[] {
  const never = (what: string, ...match: string[]) =>
    rule([], `${what} is never masqueraded`, match, ["-j", "RETURN"]);
  return [
    ...(ipsec
      ? [never("traffic under an IPsec policy", "-m", "policy", "--dir", "out", "--pol", "ipsec")]
      : []),
    rule(["-d", MULTICAST[family].text], "multicast is never masqueraded", [], ["-j", "RETURN"]),
    ...(family === "ip" ? [never("broadcast", "-m", "addrtype", "--dst-type", "BROADCAST")] : []),
  ];
}

/** Undefined if every source and interface goes. */
function gatesOf({ outputInterfaces }: Policy, { sources }: FamilyPolicy, to: string): Rule[] | undefined {
  if (!sources && !outputInterfaces) return undefined;
  const from = sources ? sources.effective.map(({ cidr }) => ["-s", cidr.text]) : [[]];
  const by = outputInterfaces?.map(name => ["-o", name.replace(/\*$/, "+")]) ?? [[]];
  return from.flatMap(source =>
    by.map(out => rule([...source, ...out], "sources and interfaces that are masqueraded", [], ["-g", to])),
  );
}

/**
 * Several port ranges get connections in proportion to their ports: each rule takes its share of what the
 * rules before it left, and the last takes the rest.
 */
function masquerades({ randomFully, toPorts = [] }: Policy, known: boolean): Rule[] {
  const random = randomFully && known ? ["--random-fully"] : [];
  const ported = ["tcp", "udp", "sctp"].flatMap(protocol =>
    toPorts.map((range, i) => {
      const share = portCount([range]) / portCount(toPorts.slice(i));
      return rule(
        ["-p", protocol],
        `outbound traffic from ports ${formatPortRange(range)}`,
        share < 1 ? ["-m", "statistic", "--mode", "random", "--probability", probability(share)] : [],
        ["-j", "MASQUERADE", "--to-ports", formatPortRange(range), ...random],
      );
    }),
  );
  return [...ported, rule([], "outbound traffic", [], ["-j", "MASQUERADE", ...random])];
}

/** A rule with its parts in the order in which iptables-save prints them. */
function rule(addresses: Rule, why: string, match: Rule, target: Rule): Rule {
  return [...addresses, "-m", "comment", "--comment", `${COMMENT}${why}`, ...match, ...target];
}

/** As the kernel keeps it, in 31 bits, and as iptables prints that. */
function probability(share: number): string {
  return (Math.round(share * 2 ** 31) / 2 ** 31).toFixed(11);
}
