import type { Located } from "../config/key-kinds.ts";
import type { Config } from "../config/keys.ts";
import type { Position } from "../config/problem.ts";
import { type Address, Cidr, FAMILIES, type Family, separateRedundant } from "../net/cidr.ts";
import { type InterfaceSelection, selectionOf } from "../net/interface-name.ts";
import type { Mark } from "../net/mark.ts";
import type { PortRange } from "../net/ports.ts";
import type { Verdict } from "../net/verdict.ts";
import { FOREIGN_MARKS, OTHER_RESERVED, PRIVATE } from "./defaults.ts";

/** Where a part of the policy comes from: a place in a file, a flag, or the defaults. */
export type Origin = Required<Position> | { readonly flag: string } | { readonly default: true };

/** A CIDR of the policy. */
export interface Entry {
  readonly cidr: Cidr;
  readonly origin: Origin;
}

/** CIDRs of one family. */
export interface CidrList {
  /** CIDRs outside all others, in the order of the config. Together they contain all addresses of the list. */
  readonly effective: readonly Entry[];
  /** The effective CIDRs by address. */
  readonly ascending: readonly Entry[];
  /** CIDRs inside an effective CIDR. They are shown to users, but not written to the kernel. */
  readonly redundant: readonly { readonly item: Entry; readonly by: Entry }[];
}

/** An address of the node. */
export interface OwnAddress {
  readonly address: Address;
  readonly interface: string;
}

/** The address that masqueraded connections get. */
export interface SnatChoice {
  /** The CIDRs of `snatAddresses`, in the order of the config. */
  readonly networks: readonly Entry[];
  /** Undefined if no address of the node is in them. Then the kernel chooses, as without the key. */
  readonly chosen: (OwnAddress & { readonly network: Entry }) | undefined;
}

/** The policy for connections of one address family. */
export interface FamilyPolicy {
  readonly family: Family;
  /** Only connections from these sources are ever masqueraded; undefined: from any source. */
  readonly sources: CidrList | undefined;
  /** Connections from these sources are never masqueraded; overrides the other lists. */
  readonly nonMasqueradeSources: CidrList;
  /** Destinations that are masqueraded even inside `nonMasquerade`. */
  readonly masquerade: CidrList;
  /** Destinations of kept connections. */
  readonly nonMasquerade: CidrList;
  /** Undefined without `snatAddresses`: the kernel chooses the address of a masqueraded connection. */
  readonly snat: SnatChoice | undefined;
}

/**
 * What config, flags and defaults mean together, as plain data for any backend.
 *
 * A connection is kept if it goes to the node itself, to multicast or broadcast, or under an outgoing IPsec policy. It
 * is also kept if its packets have one of `nonMasqueradeMarks`, if its source is in `nonMasqueradeSources` or outside
 * `sources`, or if its interface is not in `outputInterfaces`. All others are masqueraded, except to destinations in
 * `nonMasquerade` but not in `masquerade`.
 */
export interface Policy {
  /** `ip`, then `ip6` if enabled; only one family in a {@link partOf part} of a policy. */
  readonly families: readonly FamilyPolicy[];
  /** The families of the whole policy. */
  readonly enabled: readonly Family[];
  /** Undefined: any interface. */
  readonly outputInterfaces: InterfaceSelection | undefined;
  /** Packets with one of these marks are never masqueraded. */
  readonly nonMasqueradeMarks: readonly Mark[];
  /** Whether kept connections are bound to their source, so that no later NAT rule changes it. */
  readonly enforceNonMasquerade: boolean;
  /** Packets with one of these marks are masqueraded by foreign rules, and never bound. */
  readonly foreignMasqueradeMarks: readonly Mark[];
  /** Whether packets from `sources` that leave untranslated although they should be masqueraded are dropped. */
  readonly dropLeaks: boolean;
  /** The name of the main chain. */
  readonly chain: string;
  /** Whether the kernel chooses source ports at random, instead of keeping the original port if it is free. */
  readonly randomFully: boolean;
  /** Source ports for tcp, udp and sctp, ascending and disjoint; undefined: any. */
  readonly toPorts: readonly PortRange[] | undefined;
}

/** The flags that a policy depends on. */
export interface PolicyFlags {
  /** Undefined if the config decides. */
  readonly enableIPv6: boolean | undefined;
  readonly masqChain: string;
  readonly nomasqAllReservedRanges: boolean;
  readonly randomFully: boolean;
  readonly toPorts: readonly PortRange[] | undefined;
}

/**
 * The policy of a config and flags. The config has IPv6 CIDRs only if IPv6 is enabled. It does not depend on the node:
 * `withOwnAddresses` chooses the addresses of `snatAddresses`.
 */
export function policyOf(config: Config, flags: PolicyFlags): Policy {
  const enableIPv6 = flags.enableIPv6 ?? config.enableIPv6?.value ?? false;
  const families: readonly Family[] = enableIPv6 ? FAMILIES : ["ip"];
  const nonMasquerade = [
    ...linkLocal(config),
    ...(config.nonMasqueradeCIDRs?.map(entry) ?? defaults(flags.nomasqAllReservedRanges)),
  ];
  const masquerade = config.masqueradeCIDRs?.map(entry) ?? [];
  const sources = config.sourceCIDRs?.map(entry) ?? [];
  const nonMasqueradeSources = config.nonMasqueradeSourceCIDRs?.map(entry) ?? [];
  const networks = config.snatAddresses?.map(entry) ?? [];
  const interfaces = config.outputInterfaces?.map(({ value }) => value) ?? [];
  const outputInterfaces = selectionOf(interfaces);
  return {
    families: families.map(family => ({
      family,
      sources: sources.length > 0 ? cidrList(family, sources) : undefined,
      nonMasqueradeSources: cidrList(family, nonMasqueradeSources),
      masquerade: cidrList(family, masquerade),
      nonMasquerade: cidrList(family, nonMasquerade),
      snat: snatOf(networks.filter(({ cidr }) => cidr.family === family)),
    })),
    enabled: families,
    outputInterfaces: interfaces.length > 0 ? outputInterfaces : undefined,
    nonMasqueradeMarks: config.nonMasqueradeMarks?.map(({ value }) => value) ?? [],
    enforceNonMasquerade: config.enforceNonMasquerade?.value ?? false,
    foreignMasqueradeMarks: config.foreignMasqueradeMarks?.map(({ value }) => value) ?? FOREIGN_MARKS,
    dropLeaks: config.dropLeaks?.value ?? false,
    chain: flags.masqChain,
    randomFully: flags.randomFully,
    toPorts: flags.toPorts,
  };
}

/** A list of CIDRs, and its effect on connections from or to its addresses. */
interface ListKind {
  /** The nftables backend has a set with the same name. */
  readonly name: string;
  readonly of: "source" | "destination";
  /** `require`: connections from or to other addresses are kept. */
  readonly effect: Verdict | "require";
}

/** All lists. The first list of destinations that contains an address decides. */
export const LISTS = [
  { name: "non-masquerade-source", of: "source", effect: "keep" },
  { name: "source", of: "source", effect: "require" },
  { name: "masquerade", of: "destination", effect: "masquerade" },
  { name: "non-masquerade", of: "destination", effect: "keep" },
] as const satisfies readonly ListKind[];

export type ListName = (typeof LISTS)[number]["name"];

/** A list of a family's policy. */
export interface PolicyList extends ListKind {
  readonly name: ListName;
  readonly list: CidrList;
}

/** The lists of a family. */
export function listsOf(family: FamilyPolicy): PolicyList[] {
  const lists: Record<ListName, CidrList | undefined> = {
    "non-masquerade-source": family.nonMasqueradeSources,
    source: family.sources,
    masquerade: family.masquerade,
    "non-masquerade": family.nonMasquerade,
  };
  return LISTS.flatMap(kind => {
    const list = lists[kind.name];
    return list ? [{ ...kind, list }] : [];
  });
}

/** The same policy with every list changed. */
export function mapLists(family: FamilyPolicy, change: (list: CidrList) => CidrList): FamilyPolicy {
  return {
    family: family.family,
    sources: family.sources && change(family.sources),
    nonMasqueradeSources: change(family.nonMasqueradeSources),
    masquerade: change(family.masquerade),
    nonMasquerade: change(family.nonMasquerade),
    snat: family.snat,
  };
}

/** Whether kept connections of a family are bound to their source. */
export function isEnforced({ enforceNonMasquerade }: Policy, { sources }: FamilyPolicy): boolean {
  return enforceNonMasquerade && (sources === undefined || sources.effective.length > 0);
}

/** A policy for only one of its families. */
export function partOf(policy: Policy, family: Family): Policy {
  return { ...policy, families: policy.families.filter(it => it.family === family) };
}

/** `FILE:LINE`, `default`, or `--flag`. */
export function formatOrigin(origin: Origin): string {
  if ("file" in origin) return `${origin.file}:${origin.line}`;
  return "flag" in origin ? `--${origin.flag}` : "default";
}

function snatOf(networks: readonly Entry[]): SnatChoice | undefined {
  return networks.length > 0 ? { networks, chosen: undefined } : undefined;
}

function cidrList(family: Family, entries: readonly Entry[]): CidrList {
  return separateRedundant(entries.filter(({ cidr }) => cidr.family === family));
}

function entry({ value, at }: Located<Cidr>): Entry {
  return { cidr: value, origin: at };
}

function known(origin: Origin, ...texts: string[]): Entry[] {
  return texts.map(text => ({ cidr: Cidr.literal(text), origin }));
}

const DEFAULT: Origin = { default: true };
const RESERVED: Origin = { flag: "nomasq-all-reserved-ranges" };

/** Link-local addresses come first, as in ip-masq-agent. RFC 3927 and RFC 4291. */
function linkLocal(config: Config): Entry[] {
  return [
    ...(config.masqLinkLocal?.value ? [] : known(DEFAULT, "169.254.0.0/16")),
    ...(config.masqLinkLocalIPv6?.value ? [] : known(DEFAULT, "fe80::/10")),
  ];
}

function defaults(allReserved: boolean): Entry[] {
  return [...known(DEFAULT, ...PRIVATE), ...(allReserved ? known(RESERVED, ...OTHER_RESERVED) : [])];
}
