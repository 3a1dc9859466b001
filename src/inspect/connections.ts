import * as v from "valibot";
import { type Entry, hasPorts, protocolName, TCP, UDP } from "../conntrack/entry.ts";
import { FAMILIES } from "../net/cidr.ts";
import { addressOf } from "../net/ranges.ts";
import { VERDICTS } from "../net/verdict.ts";
import { DECISION_STEPS } from "../policy/decision.ts";
import type { ConnectionJudge } from "./connection-judge.ts";
import type { Judgement, Row } from "./judgement.ts";
import { OriginJson } from "./origin.ts";

const Protocols = v.object({ tcp: v.number(), udp: v.number(), other: v.number() });
type Protocols = v.InferOutput<typeof Protocols>;
const FamilyName = v.picklist(FAMILIES);

/** The output of `connections --output=json`. Keys stay from version to version. */
export const Connections = v.object({
  policyFrom: v.pipe(
    v.picklist(["agent", "config"]),
    v.description("agent: the policy that the active agent keeps in force; config: the policy of the config"),
  ),
  judgedBy: v.pipe(v.string(), v.description("the source of the policy, in words")),
  table: v.optional(
    v.pipe(
      v.object({ entries: v.number(), limit: v.number() }),
      v.description(
        "the fill level of the node's conntrack table, with connections that the policy does not judge",
      ),
    ),
  ),
  cidrs: v.array(
    v.object({
      cidr: v.pipe(v.optional(v.string()), v.description("without it: all other destinations of the family")),
      family: FamilyName,
      verdict: v.picklist(VERDICTS),
      origin: v.optional(OriginJson),
      kept: v.pipe(v.number(), v.description("connections whose peer sees their own source address")),
      masqueraded: v.pipe(v.number(), v.description("connections whose peer sees another address")),
      node: v.pipe(v.number(), v.description("connections of the node itself, with its address either way")),
      ...Protocols.entries,
      stale: v.pipe(v.number(), v.description("connections that contradict the policy")),
    }),
  ),
  stale: v.pipe(Protocols, v.description("connections that contradict the policy; see --stale")),
  overruled: v.pipe(
    v.number(),
    v.description("connections that contradict the policy because of foreign rules, which status names"),
  ),
  undecided: v.pipe(
    v.object({ service: v.number(), mark: v.number(), interface: v.number() }),
    v.description(
      "connections that may contradict the policy: masqueraded, to a Service, whose rules can do that too; kept, whose packets may carry a mark of nonMasqueradeMarks; kept, by an unknown output interface",
    ),
  ),
  exempt: v.pipe(
    v.object({
      node: v.number(),
      group: v.number(),
      hairpin: v.number(),
      zone: v.number(),
      ended: v.number(),
    }),
    v.description(
      "entries that the policy does not judge: connections to the node itself; to multicast or broadcast; to their own source, through a Service; in other conntrack zones; TCP connections that ended (TIME_WAIT, CLOSE)",
    ),
  ),
  unread: v.pipe(
    v.optional(v.array(v.string())),
    v.description(
      "foreign rules that were not read, and why; connections that they masquerade or exempt count as stale",
    ),
  ),
});
export type Connections = v.InferOutput<typeof Connections>;
type Counts = Omit<Connections, "policyFrom" | "judgedBy" | "table" | "unread">;

/** Counts judged connections. */
export class ConnectionTally {
  readonly #rows: ReadonlyMap<Row, Counts["cidrs"][number]>;
  readonly #counts: Counts;

  constructor({ rows }: Pick<ConnectionJudge, "rows">) {
    this.#rows = new Map(rows.map(row => [row, emptyRow(row)]));
    this.#counts = {
      cidrs: [...this.#rows.values()],
      stale: { tcp: 0, udp: 0, other: 0 },
      overruled: 0,
      undecided: { service: 0, mark: 0, interface: 0 },
      exempt: { node: 0, group: 0, hairpin: 0, zone: 0, ended: 0 },
    };
  }

  add({ protocol }: Pick<Entry, "protocol">, judgement: Judgement): void {
    const { stale, undecided, exempt } = this.#counts;
    if ("exempt" in judgement) {
      exempt[judgement.exempt]++;
      return;
    }
    const { row, has, outcome } = judgement;
    if (outcome === "ended") {
      exempt.ended++;
      return;
    }
    const counts = this.#rows.get(row);
    if (!counts) return;
    const name = columnOf(protocol);
    counts[has]++;
    counts[name]++;
    if (outcome === "stale") {
      counts.stale++;
      stale[name]++;
    } else if (outcome === "overruled") this.#counts.overruled++;
    else if (outcome !== "agrees") undecided[outcome]++;
  }

  get counts(): Counts {
    return this.#counts;
  }

  /** The number of connections that contradict the policy. */
  get stale(): number {
    const { tcp, udp, other } = this.#counts.stale;
    return tcp + udp + other;
  }
}

function emptyRow({ family, cidr, verdict, origin }: Row): Counts["cidrs"][number] {
  return {
    ...(cidr && { cidr: cidr.text }),
    family,
    verdict,
    ...(origin && { origin }),
    ...{ kept: 0, masqueraded: 0, node: 0, tcp: 0, udp: 0, other: 0, stale: 0 },
  };
}

/** The column that counts a protocol. */
export function columnOf(protocol: number): keyof Protocols {
  if (protocol === TCP) return "tcp";
  return protocol === UDP ? "udp" : "other";
}

const Endpoint = v.object({ address: v.string(), port: v.optional(v.number()) });
type Endpoint = v.InferOutput<typeof Endpoint>;

/** A line of the output of `connections --stale --output=json`. Keys stay from version to version. */
export const StaleConnection = v.object({
  family: FamilyName,
  protocol: v.pipe(v.string(), v.description("as in /etc/protocols, or as in: protocol 89")),
  state: v.pipe(v.optional(v.string()), v.description("of a TCP connection, as conntrack names it")),
  source: Endpoint,
  destination: v.pipe(Endpoint, v.description("as the source addressed it")),
  translated: v.pipe(v.optional(Endpoint), v.description("the destination after DNAT, as of a Service")),
  seenFrom: v.pipe(Endpoint, v.description("the source that the peer sees")),
  verdict: v.pipe(v.picklist(VERDICTS), v.description("the policy's verdict on a new connection")),
  address: v.pipe(
    v.optional(v.string()),
    v.description("the address that snatAddresses chooses for a new connection"),
  ),
  reason: v.pipe(v.string(), v.description("why a new connection gets this verdict, as a sentence")),
  rule: v.picklist(DECISION_STEPS),
  cidr: v.optional(v.string()),
  origin: v.optional(OriginJson),
  certain: v.pipe(
    v.boolean(),
    v.description("false if foreign rules were not read, which may give a new connection the same address"),
  ),
});
export type StaleConnection = v.InferOutput<typeof StaleConnection>;

/**
 * Describes an entry that contradicts the policy.
 *
 * @param certain whether all foreign rules were read
 */
export function staleConnection(
  entry: Entry,
  judge: ConnectionJudge,
  certain: boolean,
): StaleConnection | undefined {
  const { family, protocol, state, original, reply } = entry;
  const decision = judge.decision(entry);
  if (!decision) return undefined;
  const { verdict, reason, rule, cidr, origin } = decision;
  const snat = verdict === "masquerade" ? judge.snat(family) : undefined;
  const endpoint = (value: number | bigint, port: number): Endpoint => ({
    address: addressOf(family, value).text,
    ...(hasPorts(protocol) && { port }),
  });
  const source = endpoint(original.source, original.sourcePort);
  const destination = endpoint(original.destination, original.destinationPort);
  const translated = endpoint(reply.source, reply.sourcePort);
  const isTranslated = translated.address !== destination.address || translated.port !== destination.port;
  return {
    family,
    protocol: protocolName(protocol),
    ...(state !== "" && { state }),
    source,
    destination,
    ...(isTranslated && { translated }),
    seenFrom: endpoint(reply.destination, reply.destinationPort),
    verdict,
    ...(snat && { address: snat.text }),
    reason,
    rule,
    ...(cidr && { cidr: cidr.text }),
    ...(origin && { origin }),
    certain,
  };
}

/** The output of `connections --forget-stale --output=json`. Keys stay from version to version. */
export const Forgotten = v.object({
  dryRun: v.boolean(),
  ...Protocols.entries,
  ended: v.pipe(v.number(), v.description("connections that ended meanwhile")),
});
export type Forgotten = v.InferOutput<typeof Forgotten>;
