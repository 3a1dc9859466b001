import type { Family } from "../../net/cidr.ts";
import { MULTICAST } from "../../net/group-address.ts";
import { formatPortRange, type PortRange, portCount } from "../../net/ports.ts";
import { UNDER_IPSEC } from "../../nft/ipsec.ts";
import type { Statement } from "../../nft/json.ts";
import {
  type AddressSet,
  byAddress,
  type Chain,
  type Element,
  type Rule,
  type Table,
} from "../../nft/table.ts";
import {
  type CidrList,
  type Entry,
  type FamilyPolicy,
  formatOrigin,
  type Policy,
} from "../../policy/policy.ts";
import type { Chains } from "../backend.ts";
import { COMMENT, TABLE } from "../ownership.ts";

/** Names of the sets. In the kernel a letter follows, see generations.ts. */
const NON_MASQUERADE = "non-masquerade";
const MASQUERADE = "masquerade";
const SOURCE = "source";
const NON_MASQUERADE_SOURCE = "non-masquerade-source";

/** The field of a packet that is looked up in one of our sets. */
export function fieldOf(setName: string): string {
  return [SOURCE, NON_MASQUERADE_SOURCE].some(name => setName.startsWith(name)) ? "saddr" : "daddr";
}

/** The base chain, and the chain that masquerades if two rules lead to it. */
const POSTROUTING = "postrouting";
export const OUTBOUND = "outbound";

/** After kube-proxy, CNI plugins and iptables (100). */
const PRIORITY = 101;

/** The longest comment on a rule or an element, in bytes. nft accepts 128, and the kernel stores a final NUL. */
const COMMENT_BYTES = 127;

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
    sets: sets(family, abilities.elementCounters),
    chains: chains(policy, family, abilities),
    others: [],
  }));
}

function sets(family: FamilyPolicy, counting: boolean): AddressSet[] {
  if (!masqueradesAny(family)) return [];
  return [
    addressSet(MASQUERADE, "daddr", family.masquerade, counting),
    addressSet(NON_MASQUERADE, "daddr", family.nonMasquerade, counting),
    addressSet(NON_MASQUERADE_SOURCE, "saddr", family.nonMasqueradeSources, counting),
    addressSet(SOURCE, "saddr", family.sources, counting),
  ].filter(set => set.elements.length > 0);
}

function addressSet(name: string, of: string, list: CidrList | undefined, counting: boolean): AddressSet {
  const elements = list?.effective.map(element).sort(byAddress) ?? [];
  return { name, of, flags: ["interval"], counting, elements };
}

function element({ cidr, origin }: Entry): Element {
  return { value: cidr, comment: comment(formatOrigin(origin)) };
}

/** False if `sourceCIDRs` has sources, but only of the other family. */
function masqueradesAny({ sources }: FamilyPolicy): boolean {
  return sources === undefined || sources.effective.length > 0;
}

/** The names of the chains in a desired table. */
export function chainNames({ chain }: Policy, family: FamilyPolicy): string[] {
  if (!masqueradesAny(family)) return [POSTROUTING];
  return [POSTROUTING, chain, ...(family.masquerade.effective.length > 0 ? [OUTBOUND] : [])];
}

/** The chains that decide about the connections of a family. */
export function decidingChains({ chain }: Policy, { masquerade }: FamilyPolicy): Chains {
  return {
    base: POSTROUTING,
    check: POSTROUTING,
    verdict: chain,
    outbound: masquerade.effective.length > 0 ? OUTBOUND : chain,
    excludesBroadcast: true,
    alwaysExempts: false,
  };
}

function chains(policy: Policy, family: FamilyPolicy, { elementCounters, ipsec }: Abilities): Chain[] {
  const postrouting = {
    name: POSTROUTING,
    hook: { type: "nat", hook: "postrouting", prio: PRIORITY, policy: "accept" },
  };
  if (!masqueradesAny(family)) return [{ ...postrouting, rules: [] }];
  const base = { ...postrouting, rules: [...exemptions(family.family, ipsec), ...jumps(policy, family)] };
  const outbound = masquerades(policy);
  const count: Statement[] = elementCounters ? [] : [COUNTER];
  const to = (set: string) => lookup(family.family, "daddr", set);
  const spared =
    family.nonMasqueradeSources.effective.length > 0
      ? [
          rule("non-masquerade sources", lookup(family.family, "saddr", NON_MASQUERADE_SOURCE), {
            return: null,
          }),
        ]
      : [];
  const keep =
    family.nonMasquerade.effective.length > 0
      ? [rule("cluster-local traffic", to(NON_MASQUERADE), ...count, { return: null })]
      : [];
  if (family.masquerade.effective.length === 0) {
    return [base, { name: policy.chain, rules: [...spared, ...keep, ...outbound] }];
  }
  const goto = { goto: { target: OUTBOUND } };
  const verdicts = [
    ...spared,
    rule("exceptions from cluster-local traffic", to(MASQUERADE), ...count, goto),
    ...keep,
    rule("outbound traffic", COUNTER, goto),
  ];
  return [
    base,
    ...[
      { name: policy.chain, rules: verdicts },
      { name: OUTBOUND, rules: outbound },
    ].sort((a, b) => (a.name < b.name ? -1 : 1)),
  ];
}

/**
 * Traffic that is never masqueraded. Multicast is matched by address: that is equivalent to `fib daddr type` and cheaper,
 * and for IPv6 it does not depend on a route.
 */
function exemptions(family: Family, ipsec: boolean): Rule[] {
  const never = (what: string, matches: Statement) =>
    rule(`${what} is never masqueraded`, matches, { return: null });
  const [addr = "", len] = MULTICAST[family].text.split("/");
  return [
    ...(ipsec ? [never("traffic under an IPsec policy", UNDER_IPSEC)] : []),
    never(
      "multicast",
      match("==", { payload: { protocol: family, field: "daddr" } }, { prefix: { addr, len: Number(len) } }),
    ),
  ];
}

/**
 * Jumps to the policy's chain for all connections that may be masqueraded. Each interface has its own rule: a list of
 * names with prefixes would be an anonymous interval set, which finds nothing at first. A name that another one
 * covers has no rule: a connection that returns from the chain would enter it again and be counted twice.
 */
function jumps({ chain, outputInterfaces, enabled }: Policy, { family, sources }: FamilyPolicy): Rule[] {
  const also = enabled.filter(it => it !== family);
  return (outputInterfaces?.filter(isOutermost) ?? [undefined]).map(name =>
    rule(
      [`non-local destinations go through ${chain}`, ...also.map(it => `see table ${it} too`)].join("; "),
      ...(name === undefined ? [] : [match("==", { meta: { key: "oifname" } }, name)]),
      ...(sources ? [lookup(family, "saddr", SOURCE)] : []),
      notToNode(family),
      { jump: { target: chain } },
    ),
  );
}

/**
 * Excludes the node itself and, for IPv4, broadcast, with one lookup: 3 % of the cost of a new connection (measured on
 * kernel 6.18). For IPv6 the type depends on a route, and broadcast does not exist.
 */
function notToNode(family: Family): Statement {
  return family === "ip" ? match("==", DESTINATION_TYPE, "unicast") : match("!=", DESTINATION_TYPE, "local");
}

function isOutermost(name: string, _at: number, names: readonly string[]): boolean {
  return !names.some(it => it !== name && it.endsWith("*") && name.startsWith(it.slice(0, -1)));
}

/**
 * Distributes connections over several port ranges in proportion to their size: each rule takes its share of the
 * connections that earlier rules left, and the last rule takes the rest. (nft lists a map from numgen to port ranges
 * wrongly, as `1024-0`.)
 */
function masquerades({ randomFully, toPorts = [] }: Policy): Rule[] {
  const flags = randomFully ? ["fully-random"] : undefined;
  const ported = toPorts.map((range, i) => {
    const size = portCount([range]);
    const left = portCount(toPorts.slice(i));
    return rule(
      `outbound traffic from ports ${formatPortRange(range)}`,
      match("==", { meta: { key: "l4proto" } }, { set: ["tcp", "udp", "sctp"] }),
      ...(size < left ? [match("<", { numgen: { mode: "random", mod: left, offset: 0 } }, size)] : []),
      COUNTER,
      { masquerade: { port: port(range), ...(flags && { flags }) } },
    );
  });
  const rest: Statement = { masquerade: flags ? { flags } : null };
  return [...ported, rule("outbound traffic", COUNTER, rest)];
}

function port({ first, last }: PortRange): number | { range: [number, number] } {
  return first === last ? first : { range: [first, last] };
}

const COUNTER: Statement = { counter: null };

const DESTINATION_TYPE: Match["left"] = { fib: { result: "type", flags: ["daddr"] } };

type Match = Extract<Statement, { match: unknown }>["match"];

function match(op: string, left: Match["left"], right: Match["right"]): Statement {
  return { match: { op, left, right } };
}

function lookup(family: Family, field: string, set: string): Statement {
  return match("==", { payload: { protocol: family, field } }, `@${set}`);
}

function rule(why: string, ...expr: Statement[]): Rule {
  return { comment: comment(`${COMMENT}${why}`), expr };
}

/** nft cannot load its own listing of a double quote, and refuses long comments. The end of a path says most. */
function comment(text: string): string {
  const printable = text.replace(/[^ !#-~]/g, "?");
  return printable.length <= COMMENT_BYTES ? printable : `...${printable.slice(3 - COMMENT_BYTES)}`;
}
