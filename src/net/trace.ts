import type { Address, Cidr, Family } from "./cidr.ts";
import { isBroadcast, isMulticast } from "./group-address.ts";
import { hasMark } from "./mark.ts";
import type { PortRange } from "./ports.ts";
import type { Verdict } from "./verdict.ts";

/** The kernel's rules of one family, in a form that packets can be traced through. */
export interface TraceableRuleset {
  readonly family: Family;
  /** The chain where a packet starts. */
  readonly base: string;
  /** Chains where a packet starts again if the chains before them did not decide about its source. */
  readonly later?: readonly string[];
  readonly chains: ReadonlyMap<string, readonly TraceableRule[]>;
}

/** A rule in the kernel, as far as its meaning is known. */
export interface TraceableRule {
  /** The rule as nft or iptables prints it. */
  readonly text: string;
  /** All of them must hold. */
  readonly conditions: readonly Condition[];
  readonly action: Action;
  /** Whether the rule changes the packet's mark before its action. */
  readonly marks?: true;
}

/** A condition; with `not`, its opposite. Random matches are assumed to match. */
export type Condition =
  | { readonly on: "destination" | "source"; readonly not: boolean; readonly cidrs: readonly Cidr[] }
  | { readonly on: "out" | "protocol"; readonly not: boolean; readonly names: readonly string[] }
  /** The destination port of protocols that have ports. */
  | { readonly on: "port"; readonly not: boolean; readonly ports: readonly PortRange[] }
  /** A unicast destination is of none of {@link DESTINATION_TYPES}. */
  | { readonly on: (typeof DESTINATION_TYPES)[number] | "unicast" | "ipsec"; readonly not: boolean }
  /** Whether the bits of the packet's mark in `mask` equal `value`. */
  | { readonly on: "mark"; readonly not: boolean; readonly value: number; readonly mask: number }
  | { readonly on: "family"; readonly not: boolean; readonly family: Family }
  | { readonly on: "chance" }
  | { readonly on: "unknown" };

/** Types of destination addresses besides unicast. */
export const DESTINATION_TYPES = ["local", "broadcast", "multicast"] as const;

/**
 * `accept` stands for every end without translation, `snat` for translation to a fixed address. `bind` stands for
 * translation to the same address, which prevents translation by later rules.
 */
export type Action =
  | { readonly does: "snat"; readonly address?: string }
  | { readonly does: "masquerade" | "bind" | "return" | "accept" | "nothing" | "unknown" }
  | { readonly does: "jump" | "goto"; readonly to: string };

/**
 * The first packet of a connection. An unknown property is assumed to match rules that masquerade, and not to match
 * rules that exempt a connection.
 */
export interface Packet {
  readonly destination: Address;
  readonly source?: Address;
  readonly protocol?: string;
  /** The destination port. */
  readonly port?: number;
  /** The output interface. */
  readonly out?: string;
  /** Whether the destination is an address of the node itself. */
  readonly local?: boolean;
  /** Whether the destination is a broadcast address of one of the node's networks. */
  readonly broadcast?: boolean;
  /** Whether an outgoing IPsec policy applies. */
  readonly ipsec?: boolean;
  /** The mark; by default none. */
  readonly mark?: number;
}

/** The verdict of rules about a packet. */
export interface TraceResult {
  /** `unknown` if it depends on a rule whose meaning is not known. */
  readonly verdict: Verdict | "unknown";
  /** The address that the connection gets, if a rule names it. */
  readonly address?: string;
  /** Where it was decided; undefined if no rule decided. */
  readonly chain?: string;
  readonly rule?: TraceableRule;
  /** The CIDR with the destination, in the deciding rule or in the rule that led there. */
  readonly cidr?: Cidr;
}

/** Traces a packet through the rules. */
export function trace({ base, later = [], chains }: TraceableRuleset, packet: Packet): TraceResult {
  let { result } = walk(chains, base, packet, undefined, 0);
  for (const name of later) {
    if (result.verdict !== "keep" || result.rule?.action.does === "bind") break;
    const next = walk(chains, name, packet, undefined, 0).result;
    if (next.rule ?? next.verdict !== "keep") result = next;
  }
  return result;
}

/** The kernel allows 16 jumps. */
const MOST_JUMPS = 16;

/** The result of one chain: final if `ended`, otherwise valid unless a later rule decides. */
function walk(
  chains: TraceableRuleset["chains"],
  chain: string,
  packet: Packet,
  found: Cidr | undefined,
  depth: number,
): { readonly ended: boolean; readonly result: TraceResult } {
  if (depth > MOST_JUMPS) return { ended: true, result: { verdict: "unknown", chain } };
  let result: TraceResult = { verdict: "keep" };
  for (const rule of chains.get(chain) ?? []) {
    const { conditions, action } = rule;
    const matched = matchesAll(conditions, packet, action.does !== "return" && action.does !== "accept");
    if (matched === false || action.does === "nothing") continue;
    const cidr = blockOf(rule, packet) ?? found;
    const here = { chain, rule, ...(cidr && { cidr }) };
    const address = action.does === "snat" ? action.address : undefined;
    if (matched && address !== undefined) {
      return { ended: true, result: { verdict: "masquerade", address, ...here } };
    }
    if (matched === undefined || action.does === "unknown" || action.does === "snat") {
      return { ended: true, result: { verdict: "unknown", ...here } };
    }
    if (action.does === "jump" || action.does === "goto") {
      const inner = walk(chains, action.to, packet, cidr, depth + 1);
      if (inner.ended || action.does === "goto") return inner;
      result = inner.result;
    } else {
      const verdict = action.does === "masquerade" ? "masquerade" : "keep";
      return { ended: action.does !== "return", result: { verdict, ...here } };
    }
  }
  return { ended: false, result };
}

/**
 * Whether all conditions hold; undefined if that depends on a condition whose meaning is not known.
 *
 * @param otherwise the result of conditions on unknown properties of the packet
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
    case "mark": // packets have no mark unless a foreign rule sets one
      return hasMark(condition, packet.mark ?? 0) !== condition.not;
    case "multicast":
    case "broadcast":
      return isSentToMany(condition.on, packet) !== condition.not;
    case "unicast": {
      const toMany = isSentToMany("multicast", packet) || isSentToMany("broadcast", packet);
      return !(toMany || (packet.local ?? false)) !== condition.not;
    }
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

/** The CIDR of the rule that has the destination. */
function blockOf({ conditions }: TraceableRule, { destination }: Packet): Cidr | undefined {
  return conditions
    .flatMap(it => (it.on === "destination" && !it.not ? it.cidrs : []))
    .find(cidr => cidr.contains(destination));
}
