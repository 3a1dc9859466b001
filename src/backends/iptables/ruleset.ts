import type { Family } from "../../net/cidr.ts";
import { MULTICAST } from "../../net/group-address.ts";
import { formatPortRange, portCount } from "../../net/ports.ts";
import { COMMENTS } from "../../policy/decision.ts";
import { type FamilyPolicy, isEnforced, type Policy } from "../../policy/policy.ts";
import type { Rule } from "../../xtables/rule.ts";
import { POSTROUTING } from "../../xtables/save.ts";
import type { Chains } from "../backend-kind.ts";
import { COMMENT, helperChains } from "../ownership.ts";
import { enforcement } from "./enforce.ts";

/** Our part of table `nat` in one family: our chains, and one rule in POSTROUTING. */
export interface Ruleset {
  readonly family: Family;
  readonly jump: Rule;
  /** A second rule in POSTROUTING, which must decide before the rules of other programs. */
  readonly first?: Rule;
  /** The policy's chain is the first one. */
  readonly chains: readonly Chain[];
}

export interface Chain {
  readonly name: string;
  readonly rules: readonly Rule[];
}

/** The abilities of iptables and kernel that a ruleset depends on. */
interface Abilities {
  /** Whether iptables has `--random-fully`, which exists since 1.6.2. */
  readonly randomFully: boolean;
  /** Whether rules can match packets under an IPsec policy. A kernel without xfrm refuses such rules. */
  readonly ipsec: boolean;
  /** Whether iptables and kernel have the target NETMAP, or the writer does not need it. */
  readonly netmap: boolean;
}

/** The defaults if iptables and kernel are not asked. */
const ALL: Abilities = { randomFully: true, ipsec: true, netmap: true };

/**
 * The desired rules of a policy in one family: one chain, like ip-masq-agent's. Features that ip-masq-agent lacks need
 * helper chains: one for the verdicts with `sourceCIDRs` or `outputInterfaces`, and one that masquerades with
 * `masqueradeCIDRs`, because two rules lead to it.
 *
 * Exemptions come first. The rules cannot be in POSTROUTING, because a RETURN there would also skip foreign rules.
 */
export function ruleset(policy: Policy, family: FamilyPolicy, abilities = ALL): Ruleset {
  const { randomFully, ipsec, netmap } = abilities;
  const { chain } = policy;
  const [verdictChain, outboundChain] = helperChains(chain);
  const outbound = masquerades(policy, family, randomFully);
  const checks = checksOf(policy, family, verdictChain);
  const marked = policy.nonMasqueradeMarks.map(mark =>
    rule([], COMMENTS["non-masquerade-mark"], ["-m", "mark", "--mark", mark.text], ["-j", "RETURN"]),
  );
  const spared = family.nonMasqueradeSources.effective.map(({ cidr }) =>
    rule(["-s", cidr.text], COMMENTS["non-masquerade-source-cidr"], [], ["-j", "RETURN"]),
  );
  const exceptions = family.masquerade.effective.map(({ cidr }) =>
    rule(["-d", cidr.text], COMMENTS["masquerade-cidr"], [], ["-g", outboundChain]),
  );
  const keep = family.nonMasquerade.effective.map(({ cidr }) =>
    rule(["-d", cidr.text], COMMENTS["non-masquerade-cidr"], [], ["-j", "RETURN"]),
  );
  const rest = exceptions.length > 0 ? [rule([], COMMENTS.outbound, [], ["-g", outboundChain])] : outbound;
  const verdicts = [...exceptions, ...keep, ...rest];
  const rules: Ruleset = {
    family: family.family,
    jump: jumpTo(chain),
    chains: [
      {
        name: chain,
        rules: [...exemptions(family.family, ipsec), ...marked, ...spared, ...(checks ?? verdicts)],
      },
      ...(checks ? [{ name: verdictChain, rules: verdicts }] : []),
      ...(exceptions.length > 0 ? [{ name: outboundChain, rules: outbound }] : []),
    ],
  };
  if (!netmap || !isEnforced(policy, family)) return rules;
  const { first, chains } = enforcement(rules.chains, family.family, policy.foreignMasqueradeMarks);
  return { ...rules, first, chains: [...rules.chains, ...chains] };
}

/** The names of the chains in a desired ruleset. */
export function chainNames(policy: Policy, family: FamilyPolicy): string[] {
  const { chain, outputInterfaces } = policy;
  const [verdictChain, outboundChain, enforce, enforceDestinations] = helperChains(chain);
  const hasChecks = family.sources !== undefined || outputInterfaces !== undefined;
  const hasExceptions = family.masquerade.effective.length > 0;
  return [
    chain,
    ...(hasChecks ? [verdictChain] : []),
    ...(hasExceptions ? [outboundChain] : []),
    ...(isEnforced(policy, family) ? [enforce, ...(hasChecks ? [enforceDestinations] : [])] : []),
  ];
}

/** The chains that decide about the connections of a family. */
export function decidingChains(policy: Policy, family: FamilyPolicy): Chains {
  const { chain, outputInterfaces } = policy;
  const [verdictChain, outboundChain, enforce, destinations] = helperChains(chain);
  const verdict = family.sources || outputInterfaces ? verdictChain : chain;
  return {
    ...(isEnforced(policy, family) && {
      enforce,
      enforceDestinations: verdict === chain ? enforce : destinations,
    }),
    base: POSTROUTING,
    check: chain,
    verdict,
    outbound: family.masquerade.effective.length > 0 ? outboundChain : verdict,
    excludesBroadcast: false,
    excludesInterfaces: false,
    alwaysExempts: true,
  };
}

/** The rule that ip-masq-agent appends to POSTROUTING, word for word. */
function jumpTo(chain: string): Rule {
  const why = `ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom ${chain} chain`;
  return rule([], why, ["-m", "addrtype", "!", "--dst-type", "LOCAL"], ["-j", chain]);
}

/** Traffic that is never masqueraded. IPv6 has no broadcast. */
function exemptions(family: Family, ipsec: boolean): Rule[] {
  const exempt = (why: string, ...match: string[]) => rule([], why, match, ["-j", "RETURN"]);
  return [
    ...(ipsec ? [exempt(COMMENTS.ipsec, "-m", "policy", "--dir", "out", "--pol", "ipsec")] : []),
    rule(["-d", MULTICAST[family].text], COMMENTS.multicast, [], ["-j", "RETURN"]),
    ...(family === "ip" ? [exempt(COMMENTS.broadcast, "-m", "addrtype", "--dst-type", "BROADCAST")] : []),
  ];
}

/**
 * The rules that check sources and interfaces; undefined if the policy allows all. A rule can match only one interface,
 * so each excluded interface has its own rule.
 */
function checksOf({ outputInterfaces }: Policy, { sources }: FamilyPolicy, to: string): Rule[] | undefined {
  if (!sources && !outputInterfaces) return undefined;
  const from = sources ? sources.effective.map(({ cidr }) => ["-s", cidr.text]) : [[]];
  const named = outputInterfaces?.patterns.map(name => ["-o", name.replace(/\*$/, "+")]) ?? [];
  const excluded = outputInterfaces?.except ? named : [];
  const by = outputInterfaces && !outputInterfaces.except ? named : [[]];
  return [
    ...excluded.map(out => rule(out, COMMENTS["output-interface"], [], ["-j", "RETURN"])),
    ...from.flatMap(source =>
      by.map(out => rule([...source, ...out], "sources and interfaces that are masqueraded", [], ["-g", to])),
    ),
  ];
}

/**
 * Distributes connections over several port ranges in proportion to their size. Each rule takes its share of the
 * remaining connections, and the last rule takes the rest.
 */
function masquerades(
  { randomFully, toPorts = [] }: Policy,
  { family, snat }: FamilyPolicy,
  known: boolean,
): Rule[] {
  const random = randomFully && known ? ["--random-fully"] : [];
  const address = snat?.chosen?.address.text;
  const target = (ports?: string) => {
    if (address === undefined)
      return ["-j", "MASQUERADE", ...(ports === undefined ? [] : ["--to-ports", ports])];
    const host = family === "ip6" && ports !== undefined ? `[${address}]` : address;
    return ["-j", "SNAT", "--to-source", ports === undefined ? host : `${host}:${ports}`];
  };
  const ported = ["tcp", "udp", "sctp"].flatMap(protocol =>
    toPorts.map((range, i) => {
      const share = portCount([range]) / portCount(toPorts.slice(i));
      return rule(
        ["-p", protocol],
        `${COMMENTS.outbound} from ports ${formatPortRange(range)}`,
        share < 1 ? ["-m", "statistic", "--mode", "random", "--probability", probability(share)] : [],
        [...target(formatPortRange(range)), ...random],
      );
    }),
  );
  return [...ported, rule([], COMMENTS.outbound, [], [...target(), ...random])];
}

/** A rule with its options in the order of iptables-save. */
function rule(addresses: Rule, why: string, match: Rule, target: Rule): Rule {
  return [...addresses, "-m", "comment", "--comment", `${COMMENT}${why}`, ...match, ...target];
}

/** A probability with the kernel's precision of 31 bits, as iptables prints it. */
function probability(share: number): string {
  return (Math.round(share * 2 ** 31) / 2 ** 31).toFixed(11);
}
