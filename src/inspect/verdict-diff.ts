import { excludeCidr, mergeCidr } from "cidr-tools";
import { FAMILIES, type Family } from "../net/cidr.ts";
import { BROADCAST, MULTICAST } from "../net/group-address.ts";
import { cidrsBetween, type Ranges } from "../net/ranges.ts";
import type { Verdict } from "../net/verdict.ts";
import { keptDestinations, masqueradedSources } from "../policy/decision.ts";
import { describePolicy, summarizePolicy } from "../policy/describe.ts";
import type { Policy } from "../policy/policy.ts";
import { type InterfaceSet, interfaceSets, interfacesWithout } from "./interface-set.ts";

/** Connections whose verdict changes: to one of `to`, from one of `from`, and by one of `by`. */
export interface VerdictChange {
  readonly family: Family;
  readonly before: Verdict;
  readonly after: Verdict;
  /** The property that distinguishes these connections from those whose verdict does not change. */
  readonly because: "to" | "from" | "by";
  /** Disjoint CIDRs in ascending order, as few as possible. The same holds for `from`. */
  readonly to: readonly string[];
  readonly from: readonly string[];
  readonly by: readonly InterfaceSet[];
}

/** A difference between two policies that does not change a verdict. */
export interface SettingChange {
  readonly setting: string;
  readonly before: string;
  readonly after: string;
}

/** Returns the connections whose verdict differs between two policies, in disjoint groups; empty if there are none. */
export function verdictDiff(before: Policy, after: Policy): VerdictChange[] {
  return FAMILIES.flatMap(family => {
    const [old, now] = [masqueraded(before, family), masqueraded(after, family)];
    return [
      ...without(now, old).map(it => ({ family, before: "keep", after: "masquerade", ...it }) as const),
      ...without(old, now).map(it => ({ family, before: "masquerade", after: "keep", ...it }) as const),
    ];
  });
}

/** Returns the changed settings that affect how connections are masqueraded, not which. */
export function settingChanges(before: Policy, after: Policy): SettingChange[] {
  const old = new Map(settingsOf(before));
  const now = new Map(settingsOf(after));
  return [...new Set([...now.keys(), ...old.keys()])].flatMap(setting => {
    const [was, is] = [old, now].map(it => it.get(setting) ?? "none");
    return was === undefined || is === undefined || was === is ? [] : [{ setting, before: was, after: is }];
  });
}

function settingsOf(policy: Policy): (readonly [label: string, text: string])[] {
  const facts = describePolicy(summarizePolicy(policy));
  return facts.filter(({ setting }) => setting).map(({ label, text }) => [label, text]);
}

/** Destinations that no policy masquerades, the smallest CIDRs first. */
const NEVER: Readonly<Record<Family, readonly string[]>> = {
  ip: [...BROADCAST, MULTICAST.ip].map(({ text }) => text),
  ip6: [MULTICAST.ip6.text],
};

/** All connections to one of `to`, from one of `from`, by one of `by`. A policy masquerades one product per family. */
interface Product {
  readonly to: readonly string[];
  readonly from: readonly string[];
  readonly by: readonly InterfaceSet[];
}

/** Returns the connections of a family that the policy masquerades, as in `decide`; undefined if there are none. */
function masqueraded(policy: Policy, family: Family): Product | undefined {
  const found = policy.families.find(it => it.family === family);
  if (!found) return undefined;
  const to = minus(EVERYTHING[family], [...cidrsOf(family, keptDestinations(found)), ...NEVER[family]]);
  const from = cidrsOf(family, masqueradedSources(found));
  if (to.length === 0 || from.length === 0) return undefined;
  return { to, from, by: interfaceSets(policy.outputInterfaces) };
}

function cidrsOf(family: Family, ranges: Ranges): string[] {
  return ranges.flatMap(([first, last]) => cidrsBetween(family, first, last).map(({ text }) => text));
}

type Part = Pick<VerdictChange, "because" | "to" | "from" | "by">;

/** Returns the part of a product that is not in another, as up to three disjoint parts. */
function without(all: Product | undefined, other: Product | undefined): Part[] {
  if (!all) return [];
  const { by } = all;
  if (!other) return [{ because: "to", ...all }];
  const to = both(all.to, other.to);
  const from = both(all.from, other.from);
  const parts: Part[] = [
    { because: "to", to: minus(all.to, other.to), from: all.from, by },
    { because: "from", to, from: minus(all.from, other.from), by },
    { because: "by", to, from, by: interfacesWithout(all.by, other.by) },
  ];
  return parts.filter(part => [part.to, part.from, part.by].every(it => it.length > 0));
}

function minus(cidrs: readonly string[], others: readonly string[]): string[] {
  return mergeCidr(excludeCidr([...cidrs], [...others]));
}

function both(cidrs: readonly string[], others: readonly string[]): string[] {
  return minus(cidrs, minus(cidrs, others));
}

const EVERYTHING: Readonly<Record<Family, readonly string[]>> = { ip: ["0.0.0.0/0"], ip6: ["::/0"] };

/** Returns the addresses of a family outside of some CIDRs. */
export function complement(family: Family, cidrs: readonly string[]): string[] {
  return minus(EVERYTHING[family], cidrs);
}

/**
 * Returns destinations in as few CIDRs as possible. Ignores multicast and broadcast, which no policy masquerades:
 * 240.0.0.0/4 instead of all of it except 255.255.255.255.
 */
export function simplified(family: Family, destinations: readonly string[]): string[] {
  let found = minus(destinations, NEVER[family]);
  for (const block of NEVER[family]) {
    const joined = mergeCidr([...found, block]);
    if (joined.length < found.length) found = joined;
  }
  return found;
}
