import type { Address, Cidr, Family } from "./cidr.ts";
import { isBroadcast, isMulticast } from "./group-address.ts";
import type { PortRange } from "./ports.ts";
import type { Verdict } from "./verdict.ts";

/** The kernel's rules of one family, by any writer, in a form that can be followed. */
export interface TraceableRuleset {
  readonly family: Family;
  /** The chain in which a connection begins. */
  readonly base: string;
  readonly chains: ReadonlyMap<string, readonly TraceableRule[]>;
}

/** A rule in the kernel, as far as it is understood. */
export interface TraceableRule {
  /** As its own tool shows it. */
  readonly text: string;
  /** All of them have to be so. */
  readonly conditions: readonly Condition[];
  readonly action: Action;
}

/** What must hold, or with `not`, must not hold. Random matches are assumed to match. */
export type Condition =
  | { readonly on: "destination" | "source"; readonly not: boolean; readonly cidrs: readonly Cidr[] }
  | { readonly on: "out" | "protocol"; readonly not: boolean; readonly names: readonly string[] }
  /** The destination port of protocols that have ports. */
  | { readonly on: "port"; readonly not: boolean; readonly ports: readonly PortRange[] }
  | { readonly on: (typeof DESTINATION_TYPES)[number] | "ipsec"; readonly not: boolean }
  /** Whether those bits of the packet's mark that are in `mask` are `value`. */
  | { readonly on: "mark"; readonly not: boolean; readonly value: number; readonly mask: number }
  | { readonly on: "family"; readonly not: boolean; readonly family: Family }
  | { readonly on: "chance" }
  | { readonly on: "unknown" };

/** Types of addresses besides unicast that packets are sent to. */
export const DESTINATION_TYPES = ["local", "broadcast", "multicast"] as const;

/**
 * `accept` also stands for other ways to end, `snat` for any other address than masquerading gives, and `bind` for
 * translating a connection to the very address that it has, so that no later rule translates it.
 */
export type Action =
  | { readonly does: "masquerade" | "snat" | "bind" | "return" | "accept" | "nothing" | "unknown" }
  | { readonly does: "jump" | "goto"; readonly to: string };

/**
 * The first packet of a connection. A property that is left out matches rules that masquerade, and does not match rules
 * that only spare a connection.
 */
export interface Packet {
  readonly destination: Address;
  readonly source?: Address;
  readonly protocol?: string;
  /** The destination port. */
  readonly port?: number;
  /** The interface that it leaves by. */
  readonly out?: string;
  /** Whether the destination is an address of the node itself. */
  readonly local?: boolean;
  /** Whether the destination is a broadcast address of one of the node's networks. */
  readonly broadcast?: boolean;
  /** Whether an outgoing IPsec policy applies. */
  readonly ipsec?: boolean;
}

/** What rules do to a packet. */
export interface TraceResult {
  /** `unknown` if it depends on a rule that is not understood. */
  readonly verdict: Verdict | "unknown";
  /** What decided, unless no rule did. */
  readonly chain?: string;
  readonly rule?: TraceableRule;
  /** The block that the deciding rule, or the one that led to it, found the destination in. */
  readonly cidr?: Cidr;
}

/** Follows a packet through the rules. */
export function trace({ base, chains }: TraceableRuleset, packet: Packet): TraceResult {
  return walk(chains, base, packet, undefined, 0).fate;
}

/** The kernel allows 16 jumps. */
const MOST_JUMPS = 16;

/** Where a packet leaves a chain, and its fate if no later rule decides otherwise. */
function walk(
  chains: TraceableRuleset["chains"],
  chain: string,
  packet: Packet,
  found: Cidr | undefined,
  depth: number,
): { readonly ended: boolean; readonly fate: TraceResult } {
  if (depth > MOST_JUMPS) return { ended: true, fate: { verdict: "unknown", chain } };
  let fate: TraceResult = { verdict: "keep" };
  for (const rule of chains.get(chain) ?? []) {
    const { conditions, action } = rule;
    const matched = matchesAll(conditions, packet, action.does !== "return" && action.does !== "accept");
    if (matched === false || action.does === "nothing") continue;
    const cidr = blockOf(rule, packet) ?? found;
    const here = { chain, rule, ...(cidr && { cidr }) };
    if (matched === undefined || action.does === "unknown" || action.does === "snat") {
      return { ended: true, fate: { verdict: "unknown", ...here } };
    }
    if (action.does === "jump" || action.does === "goto") {
      const inner = walk(chains, action.to, packet, cidr, depth + 1);
      if (inner.ended || action.does === "goto") return inner;
      fate = inner.fate;
    } else {
      const verdict = action.does === "masquerade" ? "masquerade" : "keep";
      return { ended: action.does !== "return", fate: { verdict, ...here } };
    }
  }
  return { ended: false, fate };
}

/**
 * Undefined if one is not understood and none of the others is known not to be so.
 *
 * @param otherwise the result of conditions on properties that the packet leaves out
 */
function matchesAll(
  conditions: readonly Condition[],
  packet: Packet,
  otherwise: boolean,
): boolean | undefined {
  const results = conditions.map(condition => matches(condition, packet, otherwise));
  if (results.includes(false)) return false;
  return results.includes(undefined) ? undefined : true;
}

function matches(condition: Condition, packet: Packet, otherwise: boolean): boolean | undefined {
  switch (condition.on) {
    case "chance":
      return true;
    case "unknown":
      return undefined;
    case "mark": // packets have none unless a foreign rule gives them one
      return ((condition.value & condition.mask) === 0) !== condition.not;
    case "multicast":
    case "broadcast":
      return isSentToMany(condition.on, packet) !== condition.not;
    case "family":
      return (packet.destination.family === condition.family) !== condition.not;
    case "local":
    case "ipsec":
      return (packet[condition.on] ?? false) !== condition.not;
    case "destination":
    case "source": {
      const address = packet[condition.on];
      if (address === undefined) return otherwise;
      return condition.cidrs.some(cidr => cidr.contains(address)) !== condition.not;
    }
    case "port": {
      const { port } = packet;
      if (port === undefined) return otherwise;
      return condition.ports.some(({ first, last }) => first <= port && port <= last) !== condition.not;
    }
    case "out":
    case "protocol": {
      const name = packet[condition.on];
      if (name === undefined) return otherwise;
      return condition.names.some(it => isNamed(it, name)) !== condition.not;
    }
  }
}

function isSentToMany(on: "multicast" | "broadcast", { destination, broadcast = false }: Packet): boolean {
  return on === "multicast" ? isMulticast(destination) : broadcast || isBroadcast(destination);
}

function isNamed(pattern: string, name: string): boolean {
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

/** The block in which the rule finds the destination. */
function blockOf({ conditions }: TraceableRule, { destination }: Packet): Cidr | undefined {
  return conditions
    .flatMap(it => (it.on === "destination" && !it.not ? it.cidrs : []))
    .find(cidr => cidr.contains(destination));
}
