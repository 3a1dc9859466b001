import type { Backend } from "../backends/backend.ts";
import { Cidr, type Family } from "../net/cidr.ts";
import { difference, every, hasOutside, intersection, type Ranges, rangesOf } from "../net/ranges.ts";
import { addresses, keptDestinations, masqueradedSources } from "../policy/decision.ts";
import { type FamilyPolicy, listsOf, type Policy } from "../policy/policy.ts";
import type { Region } from "./region.ts";

/**
 * How the policy judges connections of one family. Connections to the node itself and from outside of `sourceCIDRs`
 * are ignored. Long lists cost little because a foreign rule usually catches few connections.
 */
export interface Judged {
  readonly family: Family;
  /**
   * Returns the CIDRs of the policy that keep some of the connections.
   *
   * @param most the maximum number of CIDRs to return
   */
  keptBecauseOf(connections: Region, most: number): readonly string[];
  /** The destinations that a CIDR of the policy keeps; undefined if the policy has no such non-masquerade CIDR. */
  keptIn(cidr: string): Ranges | undefined;
  /** Whether some of the connections are masqueraded. */
  masquerades(connections: Region): boolean;
}

/** Our policy and backend, against which foreign rules are judged. */
export interface Ours {
  readonly policy: Policy;
  /** How the policy judges each of its families. */
  readonly families: readonly Judged[];
  readonly backend: Backend["name"] | undefined;
}

function judged(family: FamilyPolicy): Judged {
  const sources = masqueradedSources(family);
  const keptSources = listsOf(family).filter(({ of, effect }) => of === "source" && effect === "keep");
  const exceptions = addresses(family.masquerade);
  const kept = keptDestinations(family);
  const never = rangesOf(NEVER_SENT.filter(cidr => cidr.family === family.family));
  const { effective, ascending } = family.nonMasquerade;
  let places: ReadonlyMap<Cidr, number> | undefined;
  const place = (of: Cidr) => {
    places ??= new Map(effective.map(({ cidr }, index) => [cidr, index]));
    return places.get(of) ?? 0;
  };
  return {
    family: family.family,
    keptBecauseOf(connections, most) {
      const named = new Set<Cidr>();
      for (const box of connections) {
        if (intersection(box.sources, sources).length === 0) continue;
        const destinations =
          exceptions.length === 0 ? box.destinations : intersection(box.destinations, kept);
        for (const { cidr } of within(ascending, destinations)) {
          if (named.size >= most) break;
          named.add(cidr);
        }
      }
      const destinations = [...named].sort((a, b) => place(a) - place(b));
      const from = keptSources
        .flatMap(({ list }) => list.effective.map(({ cidr }) => cidr))
        .filter(cidr => connections.some(it => intersection(it.sources, rangesOf([cidr])).length > 0));
      return [...destinations, ...from].slice(0, most).map(({ text }) => text);
    },
    keptIn(cidr) {
      const { key } = Cidr.literal(cidr);
      const entry = effective.find(it => it.cidr.key === key);
      return entry && difference(rangesOf([entry.cidr]), exceptions);
    },
    masquerades: connections =>
      connections.some(
        box =>
          intersection(box.sources, sources).length > 0 &&
          difference(box.destinations, never).some(range => hasOutside([range], kept)),
      ),
  };
}

/** Yields the CIDRs that overlap the ranges. The CIDRs are disjoint and in ascending order. */
function* within<T extends { readonly cidr: Cidr }>(sorted: readonly T[], ranges: Ranges): Generator<T> {
  for (const [first, last] of ranges) {
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = sorted[middle];
      if (entry && entry.cidr.last < first) low = middle + 1;
      else high = middle;
    }
    for (let entry = sorted[low]; entry && entry.cidr.first <= last; entry = sorted[++low]) yield entry;
  }
}

/** Judges all connections of a family as kept, as for IPv6 while it is disabled. */
export function keptWhole(family: Family): Judged {
  return {
    family,
    keptBecauseOf: connections => (connections.length > 0 ? [WHOLE[family]] : []),
    keptIn: () => every(family),
    masquerades: () => false,
  };
}

/** The CIDR of all addresses, by family. */
export const WHOLE = { ip: "0.0.0.0/0", ip6: "::/0" } as const satisfies Record<Family, string>;

/**
 * Returns our side of conflicts.
 *
 * @param backend our backend; undefined if none is chosen
 */
export function ourSide(policy: Policy, backend: Backend["name"] | undefined): Ours {
  return { policy, families: policy.families.map(judged), backend };
}

/** Destinations that are never masqueraded: loopback (RFC 1122, RFC 4291), multicast (RFC 5771), broadcast (RFC 919). */
const NEVER_SENT = [
  ...["127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32"],
  ...["::1/128", "::/128", "ff00::/8"],
].map(Cidr.literal);
