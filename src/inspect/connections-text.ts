import { FAMILY_NAMES } from "../net/cidr.ts";
import { formatOrigin } from "../policy/policy.ts";
import { printable } from "../system/printable.ts";
import { busiest, columns, facts, LEAST_ROWS, MOST_ROWS, type Room, UNLIMITED, wrapped } from "./columns.ts";
import type { Connections, Forgotten, StaleConnection } from "./connections.ts";
import type { PortUse } from "./port-use.ts";

/** The connections by destination as lines that fit a terminal, without control characters. */
export function connectionsText(connections: Connections, { width, height }: Room = UNLIMITED): string[] {
  const { cidrs, table } = connections;
  const below = [
    "",
    ...facts(
      {
        "judged by": connections.judgedBy,
        ...(table && { conntrack: `${table.entries} of ${table.limit} connections` }),
        ...Object.fromEntries(summary(connections)),
      },
      width,
    ),
  ];
  // The table has its header, a count of the other CIDRs in up to two lines, and the prompt below it.
  const left = Math.max(height - below.length - 4, LEAST_ROWS);
  const most = height === UNLIMITED.height ? MOST_ROWS : left;
  const shown = busiest(cidrs, most, it =>
    it.cidr === undefined ? Number.MAX_VALUE : it.tcp + it.udp + it.other,
  );
  const rows = shown.map(it => [
    it.cidr ?? `all other ${FAMILY_NAMES[it.family]}`,
    it.verdict,
    ...[it.kept, it.masqueraded, it.node, it.tcp, it.udp, it.other, it.stale].map(String),
    it.origin ? formatOrigin(it.origin) : "",
  ]);
  const more = cidrs.length - shown.length;
  const note = `and ${more} CIDRs with fewer connections; --output=json has all`;
  return [
    ...columns([HEADINGS, ...rows], { numbers: NUMBERS, narrow: [[FROM, 0]], width }),
    ...(more > 0 ? wrapped("", note, width) : []),
    ...below,
  ];
}

const HEADINGS = ["CIDR", "VERDICT", "KEPT", "MASQUERADED", "NODE", "TCP", "UDP", "OTHER", "STALE", "FROM"];
const NUMBERS = [2, 3, 4, 5, 6, 7, 8];
const FROM = HEADINGS.length - 1;

/** The connections that do not agree with the policy, and those that it does not judge, with a label for each. */
export function summary({
  stale,
  overruled,
  undecided,
  exempt,
  unread = [],
}: Connections): [label: string, text: string][] {
  const all = stale.tcp + stale.udp + stale.other;
  const contradict = all === 1 ? "1 connection contradicts" : `${all} connections contradict`;
  const lines: [label: string, text: string][] = [
    [
      "stale",
      all === 0
        ? "none"
        : `${contradict} the policy (${protocols(stale)}); list them with ipmasq connections --stale`,
    ],
    ["overruled", some(overruled, "contradict the policy because of foreign rules; see ipmasq status")],
    [
      "undecided",
      listed([
        some(undecided.service, "to Services, whose rules may have masqueraded them"),
        some(undecided.mark, "kept, whose packets may carry a mark of nonMasqueradeMarks"),
        some(undecided.interface, "kept, by an unknown interface"),
      ]),
    ],
    [
      "exempt",
      listed([
        some(exempt.node, "to the node itself"),
        some(exempt.group, "to multicast or broadcast"),
        some(exempt.hairpin, "to their own source, through a Service"),
        some(exempt.zone, "in other conntrack zones"),
        some(exempt.ended, "TCP that ended"),
      ]),
    ],
    ["unread", unreadText(unread)],
  ];
  return lines.filter(([, text]) => text !== "");
}

/** A warning about stale connections if foreign rules were not read; empty if all were read. */
export function unreadText(unread: readonly string[]): string {
  const [first, ...others] = unread;
  if (first === undefined) return "";
  const more = others.length > 0 ? ` (and ${others.length} more)` : "";
  return `connections may only look stale, because foreign rules were not read: ${first}${more}`;
}

/** A note on connections that are not stale, but contradict the policy because of foreign rules; empty without any. */
export function overruledText(count: number): string {
  if (count === 0) return "";
  const connections = count === 1 ? "1 connection contradicts" : `${count} connections contradict`;
  return `${connections} the policy because of foreign rules, and ${count === 1 ? "is" : "are"} not stale; see ipmasq status`;
}

function listed(texts: readonly string[]): string {
  return texts.filter(it => it !== "").join(", ");
}

function some(count: number, what: string): string {
  return count > 0 ? `${count} ${what}` : "";
}

/** Counts by protocol, as in `3 TCP, 1 UDP`. */
function protocols({ tcp, udp, other }: Connections["stale"]): string {
  const counts = [
    [tcp, "TCP"],
    [udp, "UDP"],
    [other, "other"],
  ] as const;
  return counts.flatMap(([count, name]) => (count > 0 ? `${count} ${name}` : [])).join(", ");
}

/** The text instead of a list of such connections, or of their number. */
export const NONE_STALE = "No connection is stale.";

/** A connection that contradicts the policy, in one line. */
export function staleText(it: StaleConnection): string {
  const { protocol, state, source, destination, translated, seenFrom, verdict, address, reason } = it;
  const to = `${endpoint(destination)}${translated ? ` (translated to ${endpoint(translated)})` : ""}`;
  const would =
    verdict === "keep"
      ? "keeps its address"
      : `is masqueraded${address === undefined ? "" : ` to ${address}`}`;
  const details = state === undefined ? "" : ` ${state}`;
  return printable(
    `${protocol}${details} ${endpoint(source)} to ${to} is seen from ${endpoint(seenFrom)}; a new connection ${would}: ${reason}`,
  );
}

function endpoint({ address, port }: StaleConnection["source"]): string {
  if (port === undefined) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** The use of source ports as a table. */
export function portsText(uses: readonly PortUse[]): string[] {
  if (uses.length === 0) return ["No live connection uses a source port of the node."];
  const rows = uses.map(it => [
    it.protocol,
    endpoint({ address: it.destination, port: it.port }),
    it.address,
    it.ports,
    `${it.used}`,
    `${it.available}`,
    `${((100 * it.used) / it.available).toFixed(1)} %`,
  ]);
  const uncounted = uses[0]?.uncounted ?? 0;
  return [
    ...columns([["PROTOCOL", "DESTINATION", "SEEN FROM", "SOURCE PORTS", "USED", "OF", "SHARE"], ...rows], {
      numbers: [4, 5, 6],
    }),
    ...(uncounted > 0 ? [`each destination may have up to ${uncounted} more connections`] : []),
  ].map(printable);
}

/** The effect of deleting entries. */
export function forgottenText({ dryRun, ended, ...counts }: Forgotten): string[] {
  const { tcp, udp, other } = counts;
  const all = tcp + udp + other;
  if (all === 0) return [NONE_STALE];
  const entries = `${all} conntrack ${all === 1 ? "entry" : "entries"} (${protocols(counts)})`;
  return [
    dryRun ? `Would delete ${entries}.` : `Deleted ${entries}.`,
    ...(ended > 0 ? [`${ended} more connections ended meanwhile.`] : []),
    ...(tcp > 0
      ? [
          `TCP connections ${dryRun ? "would break" : "break"}: the peer sees another address, and resets them.`,
        ]
      : []),
    ...(udp > 0
      ? [
          `UDP ${dryRun ? "would continue" : "continues"} from the new address; the peer may have to start a new session.`,
        ]
      : []),
  ];
}
