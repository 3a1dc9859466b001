import * as v from "valibot";
import type { Counter } from "../backends/backend.ts";
import { Conflict } from "../conflicts/conflict.ts";
import type { Family } from "../net/cidr.ts";
import { VERDICTS, type Verdict } from "../net/verdict.ts";
import { PolicySummary, summarizePolicy } from "../policy/describe.ts";
import type { CidrList, Policy } from "../policy/policy.ts";
import { OriginJson, originJson } from "./origin.ts";

const Count = v.object({
  connections: v.pipe(
    v.number(),
    v.description("that our rules saw since they were made, or since the agent started"),
  ),
  bytes: v.pipe(v.number(), v.description("of the first packets of these connections")),
});

const FamilyName = v.picklist(["ip", "ip6"]);

/** What `status --output=json` prints, and what the agent serves at /status. Its keys stay from version to version. */
export const Status = v.object({
  from: v.pipe(
    v.picklist(["agent", "kernel"]),
    v.description("who was asked: a running agent, or kernel and config"),
  ),
  version: v.string(),
  backend: v.optional(v.string()),
  writer: v.optional(v.string()),
  reason: v.pipe(v.optional(v.string()), v.description("why it is that backend")),
  inSync: v.boolean(),
  since: v.pipe(v.optional(v.string()), v.description("when that became so, as far as the agent knows")),
  why: v.pipe(v.optional(v.string()), v.description("why it is not in sync")),
  config: v.string(),
  kernel: v.pipe(v.optional(v.string()), v.description("what the kernel holds, if an agent was asked")),
  policy: v.optional(PolicySummary),
  cidrs: v.array(
    v.object({
      cidr: v.string(),
      family: FamilyName,
      verdict: v.picklist(VERDICTS),
      origin: OriginJson,
      coveredBy: v.optional(v.string()),
      ...v.partial(Count).entries,
    }),
  ),
  outbound: v.pipe(
    v.array(v.object({ family: FamilyName, ...Count.entries })),
    v.description("what is in none of the CIDRs, and is masqueraded"),
  ),
  conntrack: v.optional(
    v.object({ entries: v.number(), limit: v.number(), insertFailed: v.optional(v.number()) }),
  ),
  conflicts: v.pipe(
    v.array(Conflict),
    v.description(
      "foreign rules that change source addresses, or exempt connections from that; harmless ones last",
    ),
  ),
  notes: v.pipe(v.optional(v.array(v.string())), v.description("information that is not a problem")),
  problems: v.array(v.string()),
});
export type Status = v.InferOutput<typeof Status>;

/** What was counted. Bytes are those of the first packets. */
export type Counted = Pick<Counter, "connections" | "bytes">;

/** Finds what was counted with a verdict because of a CIDR, or because of none. */
export type CountOf = (family: Family, verdict: Verdict, cidr?: string) => Counted | undefined;

/** By what counts are found. */
export function keyOf(family: Family, verdict: Verdict, cidr = ""): string {
  return `${family} ${verdict} ${cidr}`;
}

/** What of a status follows from a policy and from what was counted. */
export function policyStatus(
  policy: Policy,
  counters: readonly Counter[],
): Required<Pick<Status, "policy" | "cidrs" | "outbound">> {
  const counted = new Map(counters.map(it => [keyOf(it.family, it.verdict, it.cidr?.text), it]));
  const count: CountOf = (family, verdict, cidr) => counted.get(keyOf(family, verdict, cidr));
  return { ...policySummary(policy, count), cidrs: [...statusCidrs(policy, count)] };
}

/** The same without the CIDRs, of which there may be many. */
export function policySummary(policy: Policy, count: CountOf): Required<Pick<Status, "policy" | "outbound">> {
  return {
    policy: summarizePolicy(policy),
    outbound: policy.families.map(({ family }) => ({ family, ...numbers(count(family, "masquerade")) })),
  };
}

/** The CIDRs of a policy, one after the other. */
export function* statusCidrs(policy: Policy, count: CountOf): Generator<Status["cidrs"][number]> {
  for (const { family, masquerade, nonMasquerade } of policy.families) {
    yield* rowsOf(family, masquerade, "masquerade", count);
    yield* rowsOf(family, nonMasquerade, "keep", count);
  }
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
    const counted = count(family, verdict, cidr.text);
    yield {
      ...{ cidr: cidr.text, family, verdict, origin: originJson(origin) },
      ...(counted && numbers(counted)),
    };
  }
  for (const { item, by } of list.redundant) {
    const { cidr, origin } = item;
    yield {
      ...{ cidr: cidr.text, family, verdict, origin: originJson(origin) },
      coveredBy: by.cidr.text,
    };
  }
}
