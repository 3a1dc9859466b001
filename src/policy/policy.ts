import type { Config, Located } from "../config/keys.ts";
import type { Position } from "../config/problem.ts";
import { Cidr, type Family, separateRedundant } from "../net/cidr.ts";
import type { PortRange } from "../net/ports.ts";

/** Where a part of the policy comes from. */
export type Origin =
  | ({ readonly kind: "file" } & Required<Position>)
  | { readonly kind: "default" }
  | { readonly kind: "flag"; readonly flag: string };

/** A CIDR of the policy. */
export interface Entry {
  readonly cidr: Cidr;
  readonly origin: Origin;
}

/** CIDRs of one family. An address is in the list if it is in one of `effective`. */
export interface CidrList {
  /** Those that lie in no other, in the order of the config. */
  readonly effective: readonly Entry[];
  /** Those that lie in one of `effective`: shown to people, never sent to a kernel. */
  readonly redundant: readonly { readonly item: Entry; readonly by: Entry }[];
}

/** What is meant for the connections of one address family. */
export interface FamilyPolicy {
  readonly family: Family;
  /** Only connections from here are ever masqueraded; undefined: from anywhere. */
  readonly sources: CidrList | undefined;
  /** Connections from here are never masqueraded, whatever the other lists hold. */
  readonly nonMasqueradeSources: CidrList;
  /** Destinations that are masqueraded even if `nonMasquerade` holds them. */
  readonly masquerade: CidrList;
  /** Destinations that keep the Pod's address. */
  readonly nonMasquerade: CidrList;
}

/**
 * What config, flags and defaults mean together. Plain data; no backend is known here.
 *
 * A connection to an address of the node itself, to multicast or broadcast, or under an outgoing IPsec policy is never
 * masqueraded; nor is one from `nonMasqueradeSources`, from outside of `sources`, or that leaves by none of
 * `outputInterfaces`. Of the others, connections to `masquerade` are masqueraded, those to `nonMasquerade` are not, and
 * the rest are masqueraded.
 */
export interface Policy {
  /** `ip`, then `ip6` if it is enabled; fewer where a part of the policy is meant. */
  readonly families: readonly FamilyPolicy[];
  /** The families of the whole policy. */
  readonly enabled: readonly Family[];
  /** Interface names, each with `*` at its end if it is a prefix; undefined: by any. */
  readonly outputInterfaces: readonly string[] | undefined;
  /** The chain that holds the verdicts. */
  readonly chain: string;
  /** Whether the kernel picks source ports at random rather than keeping them where it can. */
  readonly randomFully: boolean;
  /** The source ports that tcp, udp and sctp get, ascending and disjoint; undefined: any. */
  readonly toPorts: readonly PortRange[] | undefined;
}

/** The flags that a policy depends on. */
export interface PolicyFlags {
  /** Undefined if the config is to say. */
  readonly enableIPv6: boolean | undefined;
  readonly masqChain: string;
  readonly nomasqAllReservedRanges: boolean;
  readonly randomFully: boolean;
  readonly toPorts: readonly PortRange[] | undefined;
}

/** What `config` and `flags` mean. `config` was checked: it holds IPv6 CIDRs only if IPv6 is on. */
export function policyOf(config: Config, flags: PolicyFlags): Policy {
  const enableIPv6 = flags.enableIPv6 ?? config.enableIPv6?.value ?? false;
  const families: Family[] = enableIPv6 ? ["ip", "ip6"] : ["ip"];
  const nonMasquerade = [
    ...linkLocal(config),
    ...(config.nonMasqueradeCIDRs?.map(entry) ?? defaults(flags.nomasqAllReservedRanges)),
  ];
  const masquerade = config.masqueradeCIDRs?.map(entry) ?? [];
  const sources = config.sourceCIDRs?.map(entry) ?? [];
  const nonMasqueradeSources = config.nonMasqueradeSourceCIDRs?.map(entry) ?? [];
  const interfaces = config.outputInterfaces?.map(({ value }) => value) ?? [];
  return {
    families: families.map(family => ({
      family,
      sources: sources.length > 0 ? cidrList(family, sources) : undefined,
      nonMasqueradeSources: cidrList(family, nonMasqueradeSources),
      masquerade: cidrList(family, masquerade),
      nonMasquerade: cidrList(family, nonMasquerade),
    })),
    enabled: families,
    outputInterfaces: interfaces.length > 0 ? [...new Set(interfaces)] : undefined,
    chain: flags.masqChain,
    randomFully: flags.randomFully,
    toPorts: flags.toPorts,
  };
}

/** The part of a policy that is about one of its families. */
export function partOf(policy: Policy, family: Family): Policy {
  return { ...policy, families: policy.families.filter(it => it.family === family) };
}

/** `FILE:LINE`, `default`, or `--flag`. */
export function formatOrigin(origin: Origin): string {
  if (origin.kind === "file") return `${origin.file}:${origin.line}`;
  return origin.kind === "flag" ? `--${origin.flag}` : "default";
}

function cidrList(family: Family, entries: readonly Entry[]): CidrList {
  return separateRedundant(entries.filter(({ cidr }) => cidr.family === family));
}

function entry({ value, at }: Located<Cidr>): Entry {
  return { cidr: value, origin: { kind: "file", ...at } };
}

function known(origin: Origin, ...texts: string[]): Entry[] {
  return texts.map(text => ({ cidr: Cidr.literal(text), origin }));
}

const DEFAULT: Origin = { kind: "default" };
const RESERVED: Origin = { kind: "flag", flag: "nomasq-all-reserved-ranges" };

/** Link-local addresses come first, as ip-masq-agent has them. RFC 3927 and RFC 4291. */
function linkLocal(config: Config): Entry[] {
  return [
    ...(config.masqLinkLocal?.value ? [] : known(DEFAULT, "169.254.0.0/16")),
    ...(config.masqLinkLocalIPv6?.value ? [] : known(DEFAULT, "fe80::/10")),
  ];
}

function defaults(allReserved: boolean): Entry[] {
  return [...PRIVATE, ...(allReserved ? OTHER_RESERVED : [])];
}

/** RFC 1918. */
const PRIVATE = known(DEFAULT, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16");

const OTHER_RESERVED = known(
  RESERVED,
  "100.64.0.0/10", // RFC 6598: between customers and their provider
  "192.0.0.0/24", // RFC 6890: protocol assignments
  "192.0.2.0/24", // RFC 5737: documentation
  "192.88.99.0/24", // RFC 7526: once 6to4 relays
  "198.18.0.0/15", // RFC 6815: benchmarks
  "198.51.100.0/24", // RFC 5737: documentation
  "203.0.113.0/24", // RFC 5737: documentation
  "240.0.0.0/4", // RFC 5735: for future use
);
