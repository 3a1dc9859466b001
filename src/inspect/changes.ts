import { excludeCidr } from "cidr-tools";
import type { Family } from "../net/cidr.ts";
import type { CidrList, FamilyPolicy, Policy } from "../policy/policy.ts";

/** Addresses of which another thing becomes true. */
export interface Change {
  readonly family: Family;
  /** What of a connection has such an address. */
  readonly of: "destination" | "source";
  readonly before: string;
  readonly after: string;
  /** Disjoint and as few as can be, in ascending order. */
  readonly cidrs: readonly string[];
}

/** The addresses whose verdict differs between two policies; an account of what they mean, not of how they say it. */
export function changes(before: Policy, after: Policy): Change[] {
  return FAMILIES.flatMap(family => {
    const [old, now] = [before, after].map(policy => policy.families.find(it => it.family === family));
    return [
      ...between(family, "destination", "masqueraded", "kept", kept(family, old), kept(family, now)),
      ...between(family, "source", "left alone", "masqueraded", sources(family, old), sources(family, now)),
    ];
  });
}

const FAMILIES = ["ip", "ip6"] as const;

/** @param outside what is true of addresses that are in none of the lists, and `inside` of the others */
function between(
  family: Family,
  of: Change["of"],
  outside: string,
  inside: string,
  before: readonly string[],
  after: readonly string[],
): Change[] {
  const gone = excludeCidr([...before], [...after]);
  const come = excludeCidr([...after], [...before]);
  return [
    { family, of, before: inside, after: outside, cidrs: gone },
    { family, of, before: outside, after: inside, cidrs: come },
  ].filter(({ cidrs }) => cidrs.length > 0);
}

/** Destinations that keep the Pod's address, from whatever source and by whatever interface. */
function kept(family: Family, policy: FamilyPolicy | undefined): readonly string[] {
  if (!policy || policy.sources?.outer.length === 0) return EVERYTHING[family];
  return excludeCidr(texts(policy.nonMasquerade), texts(policy.masquerade));
}

/** Sources of which connections are masqueraded. Where none are, that is told of the destinations. */
function sources(family: Family, policy: FamilyPolicy | undefined): readonly string[] {
  if (!policy) return EVERYTHING[family];
  const { sources, nonMasqueradeSources } = policy;
  const from = sources && sources.outer.length > 0 ? texts(sources) : EVERYTHING[family];
  return excludeCidr([...from], texts(nonMasqueradeSources));
}

const EVERYTHING: Readonly<Record<Family, readonly string[]>> = { ip: ["0.0.0.0/0"], ip6: ["::/0"] };

function texts({ outer }: CidrList): string[] {
  return outer.map(({ cidr }) => cidr.text);
}
