import { type Address, type Cidr, compareCidrs } from "../net/cidr.ts";
import { isBroadcast, isMulticast } from "../net/group-address.ts";
import { type CidrList, type Entry, formatOrigin, type Origin, type Policy } from "./policy.ts";

/** A connection that is about to leave the node. What is not known is left out, and then matches anything. */
export interface Connection {
  readonly destination: Address;
  readonly source?: Address;
  /** The interface it leaves by. */
  readonly out?: string;
  /** Whether `destination` is an address of the node itself. */
  readonly local?: boolean;
  /** Whether `destination` is a broadcast address of one of the node's networks. */
  readonly broadcast?: boolean;
  /** Whether an outgoing IPsec policy applies. */
  readonly ipsec?: boolean;
}

/** What happens to a connection, and what decided it. */
export interface Verdict {
  readonly verdict: "keep" | "masquerade";
  /** Which step decided, in the order in which the steps are taken. */
  readonly rule:
    | "family"
    | "local"
    | "multicast"
    | "broadcast"
    | "ipsec"
    | "non-masquerade-source-cidr"
    | "source"
    | "output-interface"
    | "masquerade-cidr"
    | "non-masquerade-cidr"
    | "outbound";
  /** A sentence for people. */
  readonly reason: string;
  /** The most specific CIDR that holds the deciding address, and where it comes from. */
  readonly cidr?: Cidr;
  readonly origin?: Origin;
  /** The wider CIDRs of the same list around it, the narrowest first. */
  readonly within: readonly Cidr[];
}

/** What the policy says of a connection. Asks no kernel. */
export function verdict(policy: Policy, connection: Connection): Verdict {
  const { destination, source, out, local, broadcast, ipsec } = connection;
  const family = policy.families.find(it => it.family === destination.family);
  if (!family) return decided("keep", "family", "IPv6 is left alone without --enable-ipv6");
  const { sources, nonMasqueradeSources, masquerade, nonMasquerade } = family;
  if (local) return decided("keep", "local", `${destination.text} is an address of the node itself`);
  if (isMulticast(destination)) {
    return decided("keep", "multicast", `${destination.text} is a multicast address, never masqueraded`);
  }
  if (broadcast || isBroadcast(destination)) {
    return decided("keep", "broadcast", `${destination.text} is a broadcast address, never masqueraded`);
  }
  if (ipsec) return decided("keep", "ipsec", "an outgoing IPsec policy applies to it");
  const spared = source ? around(nonMasqueradeSources, source) : [];
  if (source && spared.length > 0) return decided("keep", "non-masquerade-source-cidr", source, spared);
  if (sources?.effective.length === 0) {
    return decided("keep", "source", `sourceCIDRs has no CIDR of the family ${family.family}`);
  }
  if (sources && source && around(sources, source).length === 0) {
    return decided("keep", "source", `the source ${source.text} is in none of the sourceCIDRs`);
  }
  if (policy.outputInterfaces && out !== undefined && !leavesBy(policy.outputInterfaces, out)) {
    return decided("keep", "output-interface", `${out} is none of the outputInterfaces`);
  }
  const exceptions = around(masquerade, destination);
  if (exceptions.length > 0) return decided("masquerade", "masquerade-cidr", destination, exceptions);
  const kept = around(nonMasquerade, destination);
  if (kept.length > 0) return decided("keep", "non-masquerade-cidr", destination, kept);
  return decided("masquerade", "outbound", `${destination.text} is in no non-masquerade CIDR`);
}

/** @param why a sentence, or the address that is in `entries` */
function decided(
  verdict: Verdict["verdict"],
  rule: Verdict["rule"],
  why: string | Address,
  entries: readonly Entry[] = [],
): Verdict {
  const [nearest, ...wider] = entries;
  if (typeof why === "string" || !nearest) return { verdict, rule, reason: `${why}`, within: [] };
  const { cidr, origin } = nearest;
  const reason = `${why.text} is in the ${LISTS[rule] ?? ""} CIDR ${cidr} (${formatOrigin(origin)})`;
  return { verdict, rule, reason, cidr, origin, within: wider.map(entry => entry.cidr) };
}

const LISTS: { readonly [rule in Verdict["rule"]]?: string } = {
  "masquerade-cidr": "masquerade",
  "non-masquerade-cidr": "non-masquerade",
  "non-masquerade-source-cidr": "non-masquerade source",
};

/** Whether the interface `name` is one of `wanted`, where `eth*` stands for all names that begin with eth. */
function leavesBy(wanted: readonly string[], name: string): boolean {
  return wanted.some(it => (it.endsWith("*") ? name.startsWith(it.slice(0, -1)) : name === it));
}

/** The entries, redundant ones too, that hold the address, the narrowest first. */
function around(list: CidrList, address: Address): Entry[] {
  return [...list.effective, ...list.redundant.map(({ item }) => item)]
    .filter(({ cidr }) => cidr.contains(address))
    .sort((a, b) => compareCidrs(b.cidr, a.cidr));
}
