import { Cidr, type Family } from "../net/cidr.ts";
import { difference, every, overlaps, type Ranges, rangesOf } from "../net/ranges.ts";
import type { CidrList, FamilyPolicy, Policy } from "../policy/policy.ts";
import { type Region, within, without } from "./region.ts";

/** The connections of one family that the policy judges, and how. Those to the node itself are left out. */
export interface Judged {
  readonly family: Family;
  /** Connections that keep their address although they might be masqueraded. */
  readonly kept: Region;
  readonly masqueraded: Region;
  /** The CIDRs of the policy because of which some of these connections are kept. */
  keptBecauseOf(connections: Region): readonly string[];
}

/** What is said of a family. Connections from outside of `sourceCIDRs` are nobody's business here. */
function judged(family: FamilyPolicy): Judged {
  const all = every(family.family);
  const sources = family.sources ? listed(family.sources) : all;
  const spared = listed(family.nonMasqueradeSources);
  const judgedSources = difference(sources, spared);
  const keptDestinations = difference(listed(family.nonMasquerade), listed(family.masquerade));
  const others = difference(difference(all, keptDestinations), rangesOf(neverSent(family.family)));
  const byDestination = new WeakMap<Ranges, readonly string[]>();
  const entries = family.nonMasquerade.outer
    .map(({ cidr }) => cidr)
    .filter(cidr => overlaps(keptDestinations, cidr));
  const keptBy = (destinations: Ranges): readonly string[] => {
    const known = byDestination.get(destinations);
    if (known) return known;
    const found = entries.filter(cidr => overlaps(destinations, cidr)).map(({ text }) => text);
    byDestination.set(destinations, found);
    return found;
  };
  return {
    family: family.family,
    kept: filled([
      { destinations: keptDestinations, sources: judgedSources },
      { destinations: all, sources: spared },
    ]),
    masqueraded: filled([{ destinations: others, sources: judgedSources }]),
    keptBecauseOf(connections) {
      const fromSpared = within(connections, { destinations: all, sources: spared });
      const others = without(connections, [{ destinations: all, sources: spared }]) ?? connections;
      const sourcesHit = family.nonMasqueradeSources.outer
        .filter(({ cidr }) => fromSpared.some(it => overlaps(it.sources, cidr)))
        .map(({ cidr }) => cidr.text);
      const [first, ...more] = others.map(it => keptBy(it.destinations));
      if (more.length === 0) return [...(first ?? []), ...sourcesHit];
      const names = new Set([first ?? [], ...more].flat());
      return [...entries.map(({ text }) => text).filter(text => names.has(text)), ...sourcesHit];
    },
  };
}

/** All connections of a family, kept: what is meant for IPv6 as long as it is off. */
export function keptWhole(family: Family): Judged {
  const all = every(family);
  const kept = [{ destinations: all, sources: all }];
  return { family, kept, masqueraded: [], keptBecauseOf: it => (it.length > 0 ? [WHOLE[family]] : []) };
}

/** By family, the CIDR that holds every address. */
export const WHOLE = { ip: "0.0.0.0/0", ip6: "::/0" } as const satisfies Record<Family, string>;

/** Of each family of the policy. */
export function judgedFamilies({ families }: Policy): readonly Judged[] {
  return families.map(judged);
}

function listed({ outer }: CidrList): Ranges {
  return rangesOf(outer.map(({ cidr }) => cidr));
}

function filled(region: Region): Region {
  return region.filter(({ destinations, sources }) => destinations.length > 0 && sources.length > 0);
}

/** Destinations that are never masqueraded: loopback (RFC 1122, RFC 4291), multicast (RFC 5771), broadcast (RFC 919). */
function neverSent(family: Family): Cidr[] {
  return NEVER_SENT.filter(cidr => cidr.family === family);
}

const NEVER_SENT = [
  ...["127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32"],
  ...["::1/128", "::/128", "ff00::/8"],
].map(Cidr.literal);
