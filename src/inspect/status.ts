import * as v from "valibot";
import type { Counter } from "../backends/backend.ts";
import { Conflict } from "../conflicts/conflict.ts";
import { type Cidr, FAMILIES, type Family } from "../net/cidr.ts";
import { VERDICTS, type Verdict } from "../net/verdict.ts";
import { PolicySummary, summarizePolicy } from "../policy/describe.ts";
import type { CidrList, Policy } from "../policy/policy.ts";
import { OriginJson } from "./origin.ts";

const Count = v.object({
  connections: v.pipe(
    v.number(),
    v.description("connections that our rules counted since they were written, or since the agent started"),
  ),
  bytes: v.pipe(v.number(), v.description("bytes in the first packets of these connections")),
});

const FamilyName = v.picklist(FAMILIES);

/** The output of `status --output=json` and of the agent at /status. Keys stay from version to version. */
export const Status = v.object({
  from: v.pipe(
    v.picklist(["agent", "kernel"]),
    v.description("agent: the active agent answered; kernel: kernel and config were read"),
  ),
  version: v.string(),
  node: v.pipe(v.optional(v.string()), v.description("the name of the node; only from a running agent")),
  backend: v.optional(v.string()),
  writer: v.pipe(v.optional(v.string()), v.description("the program that the backend writes with")),
  reason: v.pipe(v.optional(v.string()), v.description("why this backend was chosen")),
  fallback: v.pipe(
    v.optional(v.boolean()),
    v.description("whether it replaces a preferred backend that fails; only from a running agent"),
  ),
  inSync: v.boolean(),
  since: v.pipe(v.optional(v.string()), v.description("when inSync last changed")),
  why: v.pipe(v.optional(v.string()), v.description("why it is not in sync")),
  contested: v.pipe(
    v.optional(v.boolean()),
    v.description("whether another program keeps changing the rules, which the agent repairs each time"),
  ),
  configRejected: v.pipe(
    v.optional(v.boolean()),
    v.description("whether the config has errors, so that the last good policy stays active"),
  ),
  config: v.string(),
  kernel: v.pipe(v.optional(v.string()), v.description("whether the kernel has the agent's CIDRs")),
  policy: v.optional(PolicySummary),
  cidrs: v.array(
    v.object({
      cidr: v.string(),
      family: FamilyName,
      verdict: v.picklist(VERDICTS),
      origin: OriginJson,
      inside: v.pipe(
        v.optional(v.string()),
        v.description("the CIDR of the same list that contains this CIDR and makes it redundant"),
      ),
      ...v.partial(Count).entries,
    }),
  ),
  outbound: v.pipe(
    v.array(v.object({ family: FamilyName, ...v.partial(Count).entries })),
    v.description("masqueraded connections to destinations outside of all CIDRs"),
  ),
  leaks: v.pipe(
    v.optional(v.array(v.object({ family: FamilyName, packets: v.number(), bytes: v.number() }))),
    v.description("dropped packets that would have left with their own address, if dropLeaks is set"),
  ),
  conntrack: v.optional(
    v.object({ entries: v.number(), limit: v.number(), insertFailed: v.optional(v.number()) }),
  ),
  conflicts: v.pipe(
    v.array(Conflict),
    v.description(
      "foreign rules that change source addresses or exempt connections from NAT; harmless rules last",
    ),
  ),
  unread: v.pipe(
    v.optional(v.array(v.string())),
    v.description("foreign rules that could not be read, so that conflicts may be missing"),
  ),
  notes: v.pipe(v.optional(v.array(v.string())), v.description("information that is not a problem")),
  events: v.pipe(
    v.optional(v.array(v.string())),
    v.description("the last syncs that failed or repaired drift, newest last; only from a running agent"),
  ),
  problems: v.pipe(v.array(v.string()), v.description("current problems")),
});
export type Status = v.InferOutput<typeof Status>;

/** The problem of foreign rules that could not be read. */
export function unreadText(what: string): string {
  return `foreign rules not read: ${what}`;
}

/** Counted connections, and the bytes of their first packets. */
export type Counted = Pick<Counter, "connections" | "bytes">;

/** Returns the counts of a verdict for one CIDR, or for destinations outside of all CIDRs. */
export type CountOf = (family: Family, verdict: Counter["verdict"], cidr?: Cidr) => Counted | undefined;

/** The key of a count in maps: a number for IPv4, which takes less memory than text. */
export function keyOf(family: Family, verdict: Counter["verdict"], cidr?: Cidr): number | string {
  const key = cidr?.key;
  if (typeof key === "number") return 2 * key + Number(verdict === "masquerade");
  return `${family} ${verdict} ${key ?? ""}`;
}

/** Returns the parts of a status that follow from policy and counters. */
export function policyStatus(
  policy: Policy,
  counters: readonly Counter[],
): Required<Pick<Status, "policy" | "cidrs" | "outbound">> {
  const counted = new Map<number | string, Counted>();
  for (const { family, verdict, cidr, connections, bytes } of counters) {
    const key = keyOf(family, verdict, cidr);
    const sum = counted.get(key) ?? { connections: 0, bytes: 0 };
    counted.set(key, { connections: sum.connections + connections, bytes: sum.bytes + bytes });
  }
  const count: CountOf = (family, verdict, cidr) => counted.get(keyOf(family, verdict, cidr));
  return { ...policySummary(policy, count), cidrs: [...statusCidrs(policy, count)] };
}

/** Returns the same without the CIDRs, which may be many. */
export function policySummary(
  policy: Policy,
  count: CountOf,
): Required<Pick<Status, "policy" | "outbound">> & Pick<Status, "leaks"> {
  return {
    ...(policy.dropLeaks && { leaks: policy.families.map(({ family }) => dropped(family, count)) }),
    policy: summarizePolicy(policy),
    outbound: policy.families.map(({ family }) => {
      const counted = count(family, "masquerade");
      return { family, ...(counted && numbers(counted)) };
    }),
  };
}

/** Yields the CIDRs of a policy. */
export function* statusCidrs(policy: Policy, count: CountOf): Generator<Status["cidrs"][number]> {
  for (const { family, masquerade, nonMasquerade } of policy.families) {
    yield* rowsOf(family, masquerade, "masquerade", count);
    yield* rowsOf(family, nonMasquerade, "keep", count);
  }
}

function dropped(family: Family, count: CountOf): NonNullable<Status["leaks"]>[number] {
  const { connections, bytes } = numbers(count(family, "drop"));
  return { family, packets: connections, bytes };
}

function numbers({ connections, bytes }: Counted = { connections: 0, bytes: 0 }): Counted {
  return { connections, bytes };
}

function* rowsOf(
  family: Family,
  list: CidrList,
  verdict: Verdict,
  count: CountOf,
): Generator<Status["cidrs"][number]> {
  for (const { cidr, origin } of list.effective) {
    const counted = count(family, verdict, cidr);
    yield {
      ...{ cidr: cidr.text, family, verdict, origin },
      ...(counted && numbers(counted)),
    };
  }
  for (const { item, by } of list.redundant) {
    const { cidr, origin } = item;
    yield {
      ...{ cidr: cidr.text, family, verdict, origin },
      inside: by.cidr.text,
    };
  }
}
