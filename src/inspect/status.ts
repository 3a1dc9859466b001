import * as v from "valibot";
import type { Counter } from "../backends/backend.ts";
import type { Family } from "../net/cidr.ts";
import { formatPortRanges } from "../net/ports.ts";
import type { CidrList, FamilyPolicy, Policy } from "../policy/policy.ts";
import { Competing } from "./competing.ts";
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
  kernel: v.pipe(
    v.optional(v.string()),
    v.description("what the kernel itself was found to hold, where an agent was asked"),
  ),
  policy: v.optional(
    v.object({
      chain: v.string(),
      families: v.array(FamilyName),
      sourceCIDRs: v.optional(v.array(v.string())),
      nonMasqueradeSourceCIDRs: v.optional(v.array(v.string())),
      outputInterfaces: v.optional(v.array(v.string())),
      toPorts: v.optional(v.string()),
      randomFully: v.boolean(),
    }),
  ),
  cidrs: v.array(
    v.object({
      cidr: v.string(),
      family: FamilyName,
      verdict: v.picklist(["keep", "masquerade"]),
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
  competing: v.pipe(
    v.array(Competing),
    v.description("rules of others that give connections another source address, harmless ones last"),
  ),
  problems: v.array(v.string()),
});
export type Status = v.InferOutput<typeof Status>;

/** What of a status follows from a policy and from what was counted. */
export function policyStatus(
  policy: Policy,
  counters: readonly Counter[],
): Required<Pick<Status, "policy" | "cidrs" | "outbound">> {
  const { families, outputInterfaces, toPorts, chain, randomFully } = policy;
  const sources = families.flatMap(({ sources }) => sources?.outer.map(({ cidr }) => cidr.text) ?? []);
  const spared = families.flatMap(it => it.nonMasqueradeSources.outer.map(({ cidr }) => cidr.text));
  const counted = new Map(counters.map(it => [keyOf(it.family, it.verdict, it.cidr?.text), it]));
  return {
    policy: {
      chain,
      families: families.map(({ family }) => family),
      ...(families.some(it => it.sources) && { sourceCIDRs: sources }),
      ...(spared.length > 0 && { nonMasqueradeSourceCIDRs: spared }),
      ...(outputInterfaces && { outputInterfaces: [...outputInterfaces] }),
      ...(toPorts && { toPorts: formatPortRanges(toPorts) }),
      randomFully,
    },
    cidrs: families.flatMap(family => cidrsOf(family, counted)),
    outbound: families.map(({ family }) => ({
      family,
      ...countOf(counted.get(keyOf(family, "masquerade"))),
    })),
  };
}

type Counted = ReadonlyMap<string, Counter>;

function keyOf(family: Family, verdict: Counter["verdict"], cidr = ""): string {
  return `${family} ${verdict} ${cidr}`;
}

function countOf({ connections, bytes } = { connections: 0, bytes: 0 }): v.InferOutput<typeof Count> {
  return { connections, bytes };
}

function cidrsOf({ family, masquerade, nonMasquerade }: FamilyPolicy, counted: Counted): Status["cidrs"] {
  const rows = (list: CidrList, verdict: Counter["verdict"]): Status["cidrs"] => [
    ...list.outer.map(({ cidr, origin }) => {
      const counter = counted.get(keyOf(family, verdict, cidr.text));
      return {
        cidr: cidr.text,
        family,
        verdict,
        origin: originJson(origin),
        ...(counter && countOf(counter)),
      };
    }),
    ...list.covered.map(({ item, by }) => ({
      cidr: item.cidr.text,
      family,
      verdict,
      origin: originJson(item.origin),
      coveredBy: by.cidr.text,
    })),
  ];
  return [...rows(masquerade, "masquerade"), ...rows(nonMasquerade, "keep")];
}
