import * as v from "valibot";
import { type Conflict, conflictText } from "../conflicts/conflict.ts";
import { allowsInterface } from "../conflicts/interfaces.ts";
import { type Address, Cidr } from "../net/cidr.ts";
import { formatPortRanges } from "../net/ports.ts";
import { PROTOCOLS, type Protocol } from "../net/protocol.ts";
import { type TraceableRuleset, type TraceResult, trace } from "../net/trace.ts";
import { VERDICTS } from "../net/verdict.ts";
import { assumptions, DECISION_STEPS, decide } from "../policy/decision.ts";
import { snatReason } from "../policy/own-addresses.ts";
import type { Policy } from "../policy/policy.ts";
import { OriginJson } from "./origin.ts";

/** A connection to explain. Unknown properties are left out. */
export interface Question {
  readonly source?: Address;
  readonly destination: Address;
  readonly protocol?: Protocol;
  readonly port?: number;
  /** The output interface. */
  readonly out?: string;
  /** Whether the destination is an address of the node. If left out, only loopback addresses count. */
  readonly local?: boolean;
  /** Whether the destination is a broadcast address of one of the node's networks. */
  readonly broadcast?: boolean;
  /** The mark of its packets. */
  readonly mark?: number;
}

/** The output of `explain --output=json` for one connection. Keys stay from version to version. */
export const Explanation = v.object({
  verdict: v.pipe(v.picklist(VERDICTS), v.description("keep: the connection keeps its source address")),
  reason: v.pipe(v.string(), v.description("a sentence")),
  rule: v.picklist(DECISION_STEPS),
  enforced: v.optional(
    v.pipe(v.boolean(), v.description("whether enforceNonMasquerade prevents masquerading by later rules")),
  ),
  cidr: v.optional(
    v.pipe(v.string(), v.description("the narrowest CIDR that contains the deciding address")),
  ),
  within: v.pipe(v.array(v.string()), v.description("wider CIDRs of the same list, narrowest first")),
  origin: v.optional(OriginJson),
  source: v.optional(v.string()),
  destination: v.string(),
  protocol: v.optional(v.picklist(PROTOCOLS)),
  port: v.optional(v.number()),
  out: v.optional(v.string()),
  mark: v.optional(v.number()),
  assuming: v.pipe(
    v.array(v.string()),
    v.description("assumptions about unknown properties of the connection"),
  ),
  live: v.optional(
    v.object({
      verdict: v.picklist([...VERDICTS, "unknown"]),
      agrees: v.pipe(v.boolean(), v.description("whether the config gives the same verdict")),
      address: v.pipe(v.optional(v.string()), v.description("the address that the rule names")),
      rule: v.pipe(v.optional(v.string()), v.description("the deciding rule, as nft or iptables shows it")),
      chain: v.optional(v.string()),
      cidr: v.optional(v.string()),
      conflicts: v.pipe(
        v.array(v.string()),
        v.description(
          "foreign rules that may masquerade the connection although ours keep it, or exempt it although ours masquerade it",
        ),
      ),
    }),
  ),
  sourceAddress: v.pipe(
    v.optional(v.object({ address: v.optional(v.string()), reason: v.string() })),
    v.description(
      "the address that snatAddresses chooses for the connection; without an address, the kernel chooses",
    ),
  ),
  sourcePorts: v.optional(
    v.pipe(v.string(), v.description("source ports from --to-ports, if these apply to the connection")),
  ),
});
export type Explanation = v.InferOutput<typeof Explanation>;

/** Explains what the policy does with a connection. Does not ask the kernel. */
export function explain(policy: Policy, question: Question): Explanation {
  const {
    source,
    destination,
    protocol,
    port,
    out,
    local = LOOPBACK.some(it => it.contains(destination)),
    broadcast = false,
    mark,
  } = question;
  const decision = decide(policy, {
    destination,
    local,
    broadcast,
    ...(source && { source }),
    ...(out === undefined ? {} : { out }),
    ...(mark === undefined ? {} : { mark }),
  });
  const ports =
    decision.verdict === "masquerade" && policy.toPorts && hasPorts(protocol) ? policy.toPorts : undefined;
  return {
    verdict: decision.verdict,
    reason: decision.reason,
    rule: decision.rule,
    ...(decision.enforced && { enforced: true }),
    ...(decision.cidr && { cidr: decision.cidr.text }),
    within: decision.within.map(({ text }) => text),
    ...(decision.origin && { origin: decision.origin }),
    ...(source && { source: source.text }),
    destination: destination.text,
    ...(protocol && { protocol }),
    ...(port === undefined ? {} : { port }),
    ...(out === undefined ? {} : { out }),
    ...(mark === undefined ? {} : { mark }),
    assuming: decision.verdict === "keep" ? [] : assumptions(policy, question),
    ...(decision.verdict === "masquerade" && sourceAddressOf(policy, destination)),
    ...(ports && { sourcePorts: formatPortRanges(ports) }),
  };
}

function sourceAddressOf({ families }: Policy, { family }: Address): Pick<Explanation, "sourceAddress"> {
  const snat = families.find(it => it.family === family)?.snat;
  if (!snat) return {};
  const { chosen } = snat;
  return { sourceAddress: { ...(chosen && { address: chosen.address.text }), reason: snatReason(snat) } };
}

/**
 * Explains what the policy and the rules in the kernel do with a connection.
 *
 * @param kernel the rules of all our backends in the kernel
 * @param conflicts the conflicts of foreign rules with the policy
 */
export function explainLive(
  policy: Policy,
  question: Question,
  kernel: readonly TraceableRuleset[],
  conflicts: readonly Conflict[] = [],
): Explanation {
  const explained = explain(policy, question);
  const local = question.local ?? LOOPBACK.some(it => it.contains(question.destination));
  const results = kernel
    .filter(({ family }) => family === question.destination.family)
    .map(rules => trace(rules, { ...question, local }));
  const result =
    results.find(({ verdict }) => verdict === "masquerade") ??
    results.find(({ verdict }) => verdict === "unknown") ??
    results.find(({ rule }) => rule) ??
    NO_RULES;
  const { verdict, rule, chain, cidr, address } = result;
  const isMeant = verdict !== "masquerade" || address === explained.sourceAddress?.address;
  return {
    ...explained,
    live: {
      verdict,
      agrees: verdict === explained.verdict && isMeant,
      ...(address === undefined ? {} : { address }),
      ...(rule && { rule: rule.text }),
      ...(chain === undefined ? {} : { chain }),
      ...(cidr && { cidr: cidr.text }),
      conflicts: conflicts.filter(it => contradicts(it, verdict, question)).map(conflictText),
    },
  };
}

/** Whether a foreign rule may give a connection another verdict. */
export function contradicts(
  it: Conflict,
  verdict: TraceResult["verdict"],
  { source, destination, out }: Pick<Question, "source" | "destination" | "out">,
): boolean {
  const { kind, harmless, exposes, except = [], andMore = false, exempts = [], sources, interfaces } = it;
  if (!allowsInterface(interfaces, out)) return false;
  const holds = (texts: readonly string[], address: Address) =>
    texts.some(text => Cidr.literal(text).contains(address));
  const from = !sources || !source || holds(sources, source);
  if (kind === "exempts") return verdict === "masquerade" && from && holds(exempts, destination);
  const leftOut = except.some(
    left => source && holds([left.destination], destination) && holds(left.sources, source),
  );
  if (leftOut) return false;
  const exposed = andMore || holds(exposes, destination) || (source !== undefined && holds(exposes, source));
  return verdict === "keep" && !harmless && from && exposed;
}

/** Whether a foreign rule may translate a connection, without a mark, that the policy leaves alone. */
export function mayTranslate(
  { kind, sources, interfaces, exposes, only }: Conflict,
  { source, out }: { readonly source: Address; readonly out: string | undefined },
): boolean {
  if (kind === "exempts" || only !== undefined) return false;
  if (!allowsInterface(interfaces, out)) return false;
  if (sources) return sources.some(it => Cidr.literal(it).contains(source));
  return interfaces !== undefined || exposes.length > 0;
}

const NO_RULES: TraceResult = { verdict: "keep" };

/** Addresses of every node: RFC 1122, RFC 4291. */
const LOOPBACK = ["127.0.0.0/8", "::1/128"].map(Cidr.literal);

function hasPorts(protocol: Protocol | undefined): boolean {
  return protocol === undefined || protocol === "tcp" || protocol === "udp" || protocol === "sctp";
}
