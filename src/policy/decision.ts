import { type Address, type Cidr, compareCidrs, FAMILY_NAMES } from "../net/cidr.ts";
import { isBroadcast, isMulticast } from "../net/group-address.ts";
import { type InterfaceSelection, isSelected } from "../net/interface-name.ts";
import { hasMark } from "../net/mark.ts";
import { difference, every, intersection, type Ranges, rangesOf, united } from "../net/ranges.ts";
import type { Verdict } from "../net/verdict.ts";
import {
  type CidrList,
  type Entry,
  type FamilyPolicy,
  formatOrigin,
  isEnforced,
  listsOf,
  type Origin,
  type Policy,
} from "./policy.ts";

/** A connection that is about to leave the node. Unknown properties are left out and match anything. */
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
  /** The mark of its packets. */
  readonly mark?: number;
}

/** The steps of a decision, in order: the first that applies decides. */
export const DECISION_STEPS = [
  "family",
  "local",
  "multicast",
  "broadcast",
  "ipsec",
  "non-masquerade-mark",
  "non-masquerade-source-cidr",
  "source",
  "output-interface",
  "masquerade-cidr",
  "non-masquerade-cidr",
  "outbound",
] as const;
export type Step = (typeof DECISION_STEPS)[number];

/** The comments on the rules of these steps in the kernel, after their common start. Other steps need no rule. */
export const COMMENTS = {
  multicast: "multicast is never masqueraded",
  broadcast: "broadcast is never masqueraded",
  ipsec: "traffic under an IPsec policy is never masqueraded",
  "non-masquerade-mark": "non-masquerade marks",
  "non-masquerade-source-cidr": "non-masquerade sources",
  "output-interface": "interfaces that are not masqueraded",
  "masquerade-cidr": "exceptions from cluster-local traffic",
  "non-masquerade-cidr": "cluster-local traffic",
  outbound: "outbound traffic",
} as const satisfies { readonly [step in Step]?: string };

/** The steps that decide before sources and interfaces are checked. */
export const EXEMPTIONS: ReadonlySet<Step> = new Set([
  "multicast",
  "broadcast",
  "ipsec",
  "non-masquerade-mark",
  "non-masquerade-source-cidr",
]);

/** The steps whose connections `enforceNonMasquerade` binds. It leaves other connections to other programs. */
export const BOUND_STEPS = [
  "ipsec",
  "non-masquerade-mark",
  "non-masquerade-source-cidr",
  "non-masquerade-cidr",
] as const satisfies readonly Step[];
const BOUND: ReadonlySet<Step> = new Set(BOUND_STEPS);

/** The verdict on a connection, and why. */
export interface Decision {
  readonly verdict: Verdict;
  readonly rule: Step;
  /** A sentence. */
  readonly reason: string;
  /** The narrowest CIDR that contains the deciding address, and where it comes from. */
  readonly cidr?: Cidr;
  readonly origin?: Origin;
  /** Wider CIDRs of the same list that contain it, the narrowest first. */
  readonly within: readonly Cidr[];
  /** Whether the connection is bound to its source, so that no later NAT rule changes it. */
  readonly enforced: boolean;
}

/** Returns the policy's verdict on a connection. Does not ask the kernel. */
export function decide(policy: Policy, connection: Connection): Decision {
  const decision = judge(policy, connection);
  const { destination, mark = 0 } = connection;
  const family = policy.families.find(it => it.family === destination.family);
  const enforced =
    family !== undefined &&
    isEnforced(policy, family) &&
    BOUND.has(decision.rule) &&
    !policy.foreignMasqueradeMarks.some(it => hasMark(it, mark));
  return { ...decision, enforced };
}

function judge(policy: Policy, connection: Connection): Omit<Decision, "enforced"> {
  const { destination, source, out, local, broadcast, ipsec, mark = 0 } = connection;
  const family = policy.families.find(it => it.family === destination.family);
  if (!family)
    return decided("keep", "family", "IPv6 is not masqueraded without enableIPv6 or --enable-ipv6");
  const { sources, nonMasqueradeSources, masquerade, nonMasquerade } = family;
  if (local) return decided("keep", "local", `${destination.text} is an address of the node itself`);
  if (isMulticast(destination)) {
    return decided("keep", "multicast", `${destination.text} is a multicast address, never masqueraded`);
  }
  if (broadcast || isBroadcast(destination)) {
    return decided("keep", "broadcast", `${destination.text} is a broadcast address, never masqueraded`);
  }
  if (ipsec) return decided("keep", "ipsec", "an outgoing IPsec policy applies to it");
  const marked = policy.nonMasqueradeMarks.find(it => hasMark(it, mark));
  if (marked) return decided("keep", "non-masquerade-mark", `its packets have the mark ${marked.text}`);
  const spared = source ? around(nonMasqueradeSources, source) : [];
  if (source && spared.length > 0) return decided("keep", "non-masquerade-source-cidr", source, spared);
  if (sources?.effective.length === 0) {
    return decided("keep", "source", `sourceCIDRs has no ${FAMILY_NAMES[family.family]} CIDR`);
  }
  if (sources && source && around(sources, source).length === 0) {
    return decided("keep", "source", `the source ${source.text} is not in sourceCIDRs`);
  }
  if (policy.outputInterfaces && out !== undefined && !isSelected(policy.outputInterfaces, out)) {
    const { except } = policy.outputInterfaces;
    const why = `${out} is ${except ? "excluded by" : "not in"} outputInterfaces`;
    return decided("keep", "output-interface", why);
  }
  const exceptions = around(masquerade, destination);
  if (exceptions.length > 0) return decided("masquerade", "masquerade-cidr", destination, exceptions);
  const kept = around(nonMasquerade, destination);
  if (kept.length > 0) return decided("keep", "non-masquerade-cidr", destination, kept);
  return decided("masquerade", "outbound", `${destination.text} is not in a non-masquerade CIDR`);
}

/** The assumptions of a verdict "masquerade" about unknown properties of a connection. */
export function assumptions(policy: Policy, connection: Connection): string[] {
  const { families, outputInterfaces, nonMasqueradeMarks: marks } = policy;
  const { destination, source, out, local, ipsec, mark } = connection;
  const family = families.find(it => it.family === destination.family);
  const hasKeptSources = family && family.nonMasqueradeSources.effective.length > 0;
  const broadcast = destination.family === "ip" ? ", and not a broadcast address of its networks" : "";
  return [
    ...(hasKeptSources && !source ? ["its source is not in nonMasqueradeSourceCIDRs"] : []),
    ...(family?.sources && !source ? ["its source is in sourceCIDRs"] : []),
    ...(outputInterfaces && out === undefined ? [leaving(outputInterfaces)] : []),
    ...(local === undefined ? [`${destination.text} is not an address of the node${broadcast}`] : []),
    ...(marks.length > 0 && mark === undefined ? ["its packets have no mark of nonMasqueradeMarks"] : []),
    ...(ipsec === undefined ? ["no outgoing IPsec policy applies"] : []),
  ];
}

/** @param why a sentence, or the address that is in `entries` */
function decided(
  verdict: Verdict,
  rule: Step,
  why: string | Address,
  entries: readonly Entry[] = [],
): Omit<Decision, "enforced"> {
  const [narrowest, ...wider] = entries;
  if (typeof why === "string" || !narrowest) return { verdict, rule, reason: `${why}`, within: [] };
  const { cidr, origin } = narrowest;
  const reason = `${why.text} is in the ${LISTS[rule] ?? ""} CIDR ${cidr} (${formatOrigin(origin)})`;
  return { verdict, rule, reason, cidr, origin, within: wider.map(entry => entry.cidr) };
}

const LISTS: { readonly [rule in Step]?: string } = {
  "masquerade-cidr": "masquerade",
  "non-masquerade-cidr": "non-masquerade",
  "non-masquerade-source-cidr": "non-masquerade source",
};

function leaving({ except, patterns }: InterfaceSelection): string {
  return `it ${except ? "does not leave" : "leaves"} by ${patterns.join(" or ")}`;
}

/** The entries that contain the address, redundant ones included, the narrowest first. */
function around({ ascending, redundant }: CidrList, address: Address): Entry[] {
  const effective = entryAround(ascending, address);
  if (!effective) return [];
  const inside = redundant.flatMap(({ item }) => (item.cidr.contains(address) ? item : []));
  return [effective, ...inside].sort((a, b) => compareCidrs(b.cidr, a.cidr));
}

/** The entry that contains the address, of disjoint entries in ascending order. Takes logarithmic time. */
function entryAround(ascending: readonly Entry[], address: Address): Entry | undefined {
  let low = 0;
  let high = ascending.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const entry = ascending[middle];
    if (!entry || entry.cidr.contains(address)) return entry;
    if (entry.cidr.last < address.value) low = middle + 1;
    else high = middle - 1;
  }
  return undefined;
}

/** The sources whose connections a policy may masquerade. */
export function masqueradedSources(family: FamilyPolicy): Ranges {
  const lists = listsOf(family).filter(it => it.of === "source");
  return lists.reduce<Ranges>(
    (sources, { list, effect }) =>
      effect === "require" ? intersection(sources, addresses(list)) : difference(sources, addresses(list)),
    every(family.family),
  );
}

/** The destinations in non-masquerade CIDRs, without the exceptions inside them. */
export function keptDestinations(family: FamilyPolicy): Ranges {
  const lists = listsOf(family).filter(it => it.of === "destination");
  return lists.reduceRight<Ranges>(
    (kept, { list, effect }) =>
      effect === "keep" ? united(kept.concat(addresses(list))) : difference(kept, addresses(list)),
    [],
  );
}

/** The addresses in a list. */
export function addresses({ ascending }: CidrList): Ranges {
  return rangesOf(ascending.map(({ cidr }) => cidr));
}
