import type { Family } from "../../net/cidr.ts";
import { MULTICAST } from "../../net/group-address.ts";
import { type InterfaceSelection, outermost } from "../../net/interface-name.ts";
import { formatPortRange, type PortRange, portCount } from "../../net/ports.ts";
import { UNDER_IPSEC } from "../../nft/ipsec.ts";
import type { Statement } from "../../nft/json.ts";
import { withMark } from "../../nft/statements.ts";
import type { Rule } from "../../nft/table.ts";
import { COMMENTS } from "../../policy/decision.ts";
import type { FamilyPolicy, ListName, Policy } from "../../policy/policy.ts";
import { COMMENT } from "../ownership.ts";
import { comment } from "./sets.ts";

export const RETURN: Statement = { return: null };

/** Gives a verdict on packets under an IPsec policy, and on those with a mark that the policy keeps. */
export function keptMarks({ nonMasqueradeMarks }: Policy, ipsec: boolean, verdict: Statement): Rule[] {
  return [
    ...(ipsec ? [rule(COMMENTS.ipsec, UNDER_IPSEC, verdict)] : []),
    ...nonMasqueradeMarks.map(mark => rule(COMMENTS["non-masquerade-mark"], withMark(mark), verdict)),
  ];
}

/** Gives a verdict on packets from sources that are never masqueraded. */
export function keptSources({ family, nonMasqueradeSources }: FamilyPolicy, verdict: Statement): Rule[] {
  if (nonMasqueradeSources.effective.length === 0) return [];
  const isFrom = lookup(family, "saddr", "non-masquerade-source");
  return [rule(COMMENTS["non-masquerade-source-cidr"], isFrom, verdict)];
}

/**
 * Returns for multicast, matched by address: that is equivalent to `fib daddr type` and cheaper, and for IPv6 it does
 * not depend on a route.
 */
export function multicast(family: Family): Rule {
  const [addr = "", len] = MULTICAST[family].text.split("/");
  const destination = { payload: { protocol: family, field: "daddr" } };
  return rule(COMMENTS.multicast, match("==", destination, { prefix: { addr, len: Number(len) } }), RETURN);
}

/** Returns for the node itself, multicast and broadcast. */
export function exclusions(family: Family): Rule[] {
  if (family === "ip") return [rule(EXCLUDED, match("!=", DESTINATION_TYPE, "unicast"), RETURN)];
  return [multicast(family), rule(EXCLUDED, match("==", DESTINATION_TYPE, "local"), RETURN)];
}

const EXCLUDED = "local destinations are never masqueraded";

/**
 * Jumps to the policy's chain for all connections that may be masqueraded. Each interface has its own rule: a list of
 * names with prefixes would be an anonymous interval set, which finds nothing at first. A name that another name
 * covers gets no rule. Otherwise a connection that returns from the chain would enter it again and count twice.
 * Excluded interfaces have one rule together.
 */
export function jumps(
  { chain, outputInterfaces, enabled }: Policy,
  { family, sources }: FamilyPolicy,
): Rule[] {
  const also = enabled.filter(it => it !== family);
  return interfaceMatches(outputInterfaces).map(matches =>
    rule(
      [`non-local destinations go through ${chain}`, ...also.map(it => `see table ${it} too`)].join("; "),
      ...matches,
      ...(sources ? [lookup(family, "saddr", "source")] : []),
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

/** The matches of each rule that together match the selected interfaces. */
export function interfaceMatches(interfaces: InterfaceSelection | undefined): Statement[][] {
  if (!interfaces) return [[]];
  const op = interfaces.except ? "!=" : "==";
  const matches = outermost(interfaces.patterns).map(it => match(op, { meta: { key: "oifname" } }, it));
  return interfaces.except ? [matches] : matches.map(it => [it]);
}

/**
 * Distributes connections over several port ranges in proportion to their size. Each rule takes its share of the
 * remaining connections, and the last rule takes the rest. (nft lists a map from numgen to port ranges wrongly, as
 * `1024-0`.)
 *
 * @param counter the counter that all rules share; null for anonymous counters, if a rule that leads here counts the
 *   same connections
 */
export function masquerades(
  { randomFully, toPorts = [] }: Policy,
  { snat }: FamilyPolicy,
  counter: string | null,
): Rule[] {
  const flags = randomFully ? { flags: ["fully-random"] } : {};
  const addr = snat?.chosen?.address.text;
  const translate = (ports: { readonly port?: Ports }): Statement => {
    const options = { ...ports, ...flags };
    if (addr !== undefined) return { snat: { addr, ...options } };
    return { masquerade: Object.keys(options).length > 0 ? options : null };
  };
  const ported = toPorts.map((range, i) => {
    const size = portCount([range]);
    const left = portCount(toPorts.slice(i));
    return rule(
      `${COMMENTS.outbound} from ports ${formatPortRange(range)}`,
      match("==", { meta: { key: "l4proto" } }, { set: ["tcp", "udp", "sctp"] }),
      ...(size < left ? [match("<", { numgen: { mode: "random", mod: left, offset: 0 } }, size)] : []),
      { counter },
      translate({ port: port(range) }),
    );
  });
  return [...ported, rule(COMMENTS.outbound, { counter }, translate({}))];
}

type Ports = number | { range: [number, number] };

function port({ first, last }: PortRange): Ports {
  return first === last ? first : { range: [first, last] };
}

/** Counts the connections that reach it. */
const DESTINATION_TYPE: Match["left"] = { fib: { result: "type", flags: ["daddr"] } };

type Match = Extract<Statement, { match: unknown }>["match"];

export function match(op: string, left: Match["left"], right: Match["right"]): Statement {
  return { match: { op, left, right } };
}

/** Looks up a field of a packet in a set. */
export function lookup(family: Family, field: string, set: ListName, op: "==" | "!=" = "=="): Statement {
  return match(op, { payload: { protocol: family, field } }, `@${set}`);
}

/** One of our rules, with a comment that states its purpose. */
export function rule(why: string, ...expr: Statement[]): Rule {
  return { comment: comment(`${COMMENT}${why}`), expr };
}
