import * as v from "valibot";
import { ownerOf } from "../conflicts/owners.ts";
import { BITS, FAMILIES } from "../net/cidr.ts";
import { cidrsBetween, type Ranges } from "../net/ranges.ts";
import type { TraceableRule } from "../net/trace.ts";
import { VERDICTS } from "../net/verdict.ts";
import type { Finding, Proof } from "../proof/prove.ts";
import type { Dimension, Space } from "../proof/space.ts";
import { transportNames } from "../proof/transport.ts";
import type { Place } from "../proof/witness.ts";
import { type KernelHook, outcomeOf, overallOutcome, type Verification } from "./verify.ts";

const Rule = v.object({
  rule: v.pipe(v.string(), v.description("as nft or iptables prints it")),
  owner: v.pipe(v.string(), v.description("ipmasq, the program that made the rule, or unknown")),
  tool: v.picklist(["nft", "iptables-nft", "iptables-legacy"]),
  family: v.picklist(["ip", "ip6", "inet"]),
  table: v.string(),
  chain: v.string(),
  priority: v.pipe(v.number(), v.description("of its base chain")),
});
export type RuleJson = v.InferOutput<typeof Rule>;

const limited = (what: string) =>
  v.pipe(v.optional(v.array(v.string())), v.description(`only ${what}; missing: any`));

const Packets = v.object({
  policy: v.picklist(VERDICTS),
  kernel: v.pipe(
    v.picklist([...VERDICTS, "other address", "unknown"]),
    v.description("other address: translated, but not to the policy's address"),
  ),
  destinations: v.pipe(v.array(v.string()), v.description("at most 20 CIDRs, or ranges FIRST-LAST")),
  moreDestinations: v.pipe(v.boolean(), v.description("whether destinations are left out")),
  sources: limited("packets from these CIDRs and ranges, at most 20"),
  interfaces: limited(
    "packets that leave by these interfaces; prefix*: all others with that prefix; !NAME: any except these",
  ),
  transport: limited("these protocols and destination ports"),
  marks: limited("packets with one of these marks"),
  ipsec: v.pipe(
    v.optional(v.boolean()),
    v.description("whether only packets under an IPsec policy are included"),
  ),
  unselected: v.pipe(
    v.optional(v.boolean()),
    v.description("whether only packets that sourceCIDRs or outputInterfaces do not select are included"),
  ),
  by: v.pipe(v.optional(Rule), v.description("the rule that decides; missing: no rule does")),
  unclear: v.pipe(v.array(Rule), v.description("rules that may decide, but are not understood")),
});
export type PacketsJson = v.InferOutput<typeof Packets>;

const Outcome = v.picklist(["proven", "differs", "unproven"]);

/** The output of `verify --output=json`. Keys stay from version to version. */
export const VerificationJson = v.object({
  result: v.pipe(Outcome, v.description("for all families together")),
  families: v.array(
    v.object({
      family: v.picklist(FAMILIES),
      result: Outcome,
      destinations: v.pipe(
        v.string(),
        v.description("the number of addresses that were compared, in decimal"),
      ),
      pieces: v.pipe(
        v.number(),
        v.description("groups of packets that policy and rules do not tell apart; they contain all packets"),
      ),
      differing: v.pipe(v.number(), v.description("pieces whose verdict differs from the policy's")),
      unproven: v.pipe(v.number(), v.description("pieces whose verdict is not known")),
      findings: v.pipe(v.array(Packets), v.description("at most about 100, differing ones first")),
      leftToOthers: v.pipe(
        v.array(Packets),
        v.description("packets that foreign rules translate or exempt, and that the policy leaves to them"),
      ),
      failure: v.optional(v.string()),
    }),
  ),
  unread: v.pipe(v.array(v.string()), v.description("rules that were not read, so nothing is proven")),
  assuming: v.array(v.string()),
});
export type VerificationJson = v.InferOutput<typeof VerificationJson>;

/** A verification as plain data. */
export function verificationJson(it: Verification): VerificationJson {
  return {
    result: overallOutcome(it),
    families: it.families.map(({ family, proof }) => ({
      family,
      result: outcomeOf(proof),
      destinations: `${2n ** BigInt(BITS[family])}`,
      pieces: proof.pieces,
      differing: proof.differing,
      unproven: proof.unproven,
      findings: proof.findings.map(finding => packets(proof, finding)),
      leftToOthers: proof.leftToOthers.map(finding => packets(proof, finding)),
      ...(proof.failure !== undefined && { failure: proof.failure }),
    })),
    unread: [...it.unread],
    assuming: [...it.assuming],
  };
}

const MOST_SHOWN = 20;

function packets({ space }: Proof<KernelHook>, finding: Finding<KernelHook>): PacketsJson {
  const { desired, got, destinations, by, doubts, unselected } = finding;
  const ranges = finding.packets.get("destination") ?? space.every("destination");
  const named = addresses(space, ranges);
  const list = (on: Dimension, names: (ranges: Ranges) => string[]) => {
    const limits = finding.packets.get(on);
    return limits && names(limits).slice(0, MOST_SHOWN);
  };
  const sources = list("source", it => addresses(space, it));
  const interfaces = list("out", it => space.interfaces.names(it));
  const transport = list("transport", transportNames);
  const marks = list("mark", it => space.marks.names(it));
  const ipsec = finding.packets.get("ipsec");
  return {
    policy: desired,
    kernel: got === "misdirect" ? "other address" : got,
    destinations: named.slice(0, MOST_SHOWN),
    moreDestinations: named.length > MOST_SHOWN || destinations > ranges.length,
    ...(sources && { sources }),
    ...(interfaces && interfaces.length > 0 && { interfaces }),
    ...(transport && { transport }),
    ...(marks && { marks }),
    ...(ipsec?.[0]?.[0] === 1 && { ipsec: true }),
    ...(unselected && { unselected }),
    ...(by && { by: ruleJson(by) }),
    unclear: [...new Map(doubts.map(it => [it.rule, ruleJson(it)])).values()].slice(0, MOST_SHOWN),
  };
}

/** The first ranges, one more than is shown, so that users see that there are more. */
function addresses({ family }: Space, ranges: Ranges): string[] {
  return ranges.slice(0, MOST_SHOWN + 1).flatMap(([first, last]) => {
    const cidrs = cidrsBetween(family, first, last);
    if (cidrs.length <= FEW) return cidrs.map(({ text }) => text);
    const [from] = cidrsBetween(family, first, first);
    const [to] = cidrsBetween(family, last, last);
    return [`${from?.address}-${to?.address}`];
  });
}

/** More CIDRs are shown as a range. */
const FEW = 2;

function ruleJson({ hook, chain, rule }: Place<KernelHook>): RuleJson {
  const { tool, family, table, priority } = hook.nat;
  return { rule: rule.text, owner: ownerName(hook, chain, rule), tool, family, table, chain, priority };
}

function ownerName(hook: KernelHook, chain: string, { conditions, text }: TraceableRule): string {
  if (hook.isOwn(chain)) return "ipmasq";
  const interfaces = conditions.flatMap(it => (it.on === "out" ? it.names : []));
  const comment = /(?<!-m )comment (?:"((?:[^"\\]|\\.)*)"|(\S+))/.exec(text);
  const names = [...interfaces, chain, ...(hook.nat.tool === "nft" ? [hook.nat.table] : [])];
  return ownerOf(names, comment?.[1] ?? comment?.[2]).owner;
}
