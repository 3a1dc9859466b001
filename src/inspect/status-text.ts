import {
  conflictText,
  defeatedText,
  effectText,
  harmfulOf,
  remedyText,
  some,
} from "../conflicts/conflict.ts";
import { FAMILY_NAMES } from "../net/cidr.ts";
import { describePolicy } from "../policy/describe.ts";
import { formatOrigin } from "../policy/policy.ts";
import {
  busiest,
  columns,
  cut,
  facts,
  LEAST_ROWS,
  MOST_ROWS,
  type Room,
  UNLIMITED,
  wrapped,
} from "./columns.ts";
import { headlineOf } from "./headline.ts";
import type { Rates } from "./rates.ts";
import type { Status } from "./status.ts";

/** How to show a status. */
export interface View {
  /** The terminal; without one, lines are not wrapped, and a list has at most 40 CIDRs. */
  readonly room?: Room | undefined;
  /** Whether lists are shown whole. */
  readonly all?: boolean;
  /** Connections per second; only with them, the table has a column for them. */
  readonly rates?: Rates | undefined;
}

const MOST_PROBLEMS = 10;
const MOST_CONFLICTS = 5;
const MOST_EVENTS = 3;

/** Returns a status as lines without control characters. The first three answer the questions of the headline. */
export function statusText(status: Status, { room = UNLIMITED, all = false, rates }: View = {}): string[] {
  const { notes = [] } = status;
  const { width, height } = room;
  const label = Math.max(...Object.keys(detailsOf(status)).map(it => it.length));
  const above = [
    ...headlineLines(status, width, label),
    ...conflictLines(status, width, { all, brief: rates !== undefined && height !== UNLIMITED.height }),
    ...problemLines(status, width, all),
  ];
  const details = ["", ...facts(detailsOf(status), width, label)];
  const below = [
    ...harmlessLines(status, width),
    ...eventLines(status, width, all),
    ...(notes.length > 0 ? ["", "notes", ...notes.flatMap(it => wrapped("  ", it, width))] : []),
  ];
  const inTable = { width, rates, most: all ? status.cidrs.length : MOST_ROWS };
  if (height === UNLIMITED.height || all) return [...above, ...details, ...table(status, inTable), ...below];
  // One line remains for the prompt.
  const left = height - 1 - above.length - below.length;
  const lines = table(status, { ...inTable, most: fitting(status, left - details.length) });
  // In a small window that shows rates, the table is more useful than the details.
  if (rates && lines.length + details.length > left)
    return [...above, ...table(status, { ...inTable, most: fitting(status, left) }), ...below];
  return [...above, ...details, ...lines, ...below];
}

/** The number of CIDRs that fit, beside the other lines of the table. */
function fitting({ cidrs, outbound }: Status, lines: number): number {
  const most = lines - outbound.length - 2;
  // The count of the other CIDRs takes up to two lines.
  return Math.max(cidrs.length > most ? most - 2 : most, LEAST_ROWS);
}

/** Answers that the sections below give in full take one line. */
function headlineLines(status: Status, width: number, label: number): string[] {
  const { inForce, overruled, problems } = headlineOf(status);
  const inSection = status.problems.length > 1;
  const line = (name: string, text: string) => cut(`${name.padEnd(label)}  ${text}`, width);
  return [
    ...facts({ "in force": inForce }, width, label),
    line("overruled", overruled),
    ...(inSection ? [line("problems", problems)] : facts({ problems }, width, label)),
  ];
}

function detailsOf(status: Status): Readonly<Record<string, string>> {
  const { from, version, node, backend, writer, reason, kernel, config, policy, leaks, conntrack } = status;
  return {
    "reported by":
      from === "agent"
        ? `the agent${node === undefined ? "" : ` on ${node}`}, version ${version}`
        : "kernel and config; no agent answers",
    backend: backend === undefined ? "none" : `${backend}, by ${writer}: ${reason}`,
    ...(kernel !== undefined && { kernel }),
    config,
    ...(policy && Object.fromEntries(describePolicy(policy).map(({ label, text }) => [label, text]))),
    ...(leaks && { "leaks dropped": leaksText(leaks) }),
    ...(conntrack && { conntrack: conntrackText(conntrack) }),
  };
}

/** The headline has the only problem. */
function problemLines({ problems, configRejected }: Status, width: number, all: boolean): string[] {
  if (problems.length < 2 && !configRejected) return [];
  const most = all ? problems.length : MOST_PROBLEMS;
  const more = problems.length - most;
  const note = more > 0 ? [`  and ${more} more; --all shows them`] : [];
  const lines = problems.slice(0, most).flatMap(it => wrapped("  ", it, width));
  return ["", "problems", ...lines, ...note];
}

function eventLines({ events = [] }: Status, width: number, all: boolean): string[] {
  if (events.length === 0) return [];
  const shown = all ? events : events.slice(-MOST_EVENTS);
  return ["", "repairs and failed syncs", ...shown.flatMap(it => wrapped("  ", it, width))];
}

function conflictLines(
  { conflicts }: Status,
  width: number,
  { all, brief }: { all: boolean; brief: boolean },
): string[] {
  const harmful = harmfulOf(conflicts);
  if (harmful.length === 0) return [];
  const most = all ? harmful.length : MOST_CONFLICTS;
  const line = (margin: string, text: string) =>
    brief ? [cut(`${margin}${text}`, width)] : wrapped(margin, text, width);
  const lines = harmful
    .slice(0, most)
    .flatMap(it => [
      ...line("  ", conflictText(it)),
      ...line("    ", effectText(it)),
      ...line("    ", remedyText(it)),
    ]);
  const more = harmful.length > most ? [`  and ${harmful.length - most} more; --all shows them`] : [];
  return ["", "conflicts", ...lines, ...more];
}

/** Harmless conflicts are only named. */
function harmlessLines({ conflicts }: Status, width: number): string[] {
  const harmless = conflicts
    .filter(it => it.harmless && !it.defeated)
    .map(({ kind, owner, only, exempts = [] }) => {
      if (kind === "exempts") return `${owner} (exempts ${only ?? "connections"} to ${some(exempts)})`;
      return only === undefined ? owner : `${owner} (only ${only})`;
    });
  const defeated = defeatedText(conflicts);
  return [
    ...(defeated === undefined
      ? []
      : ["", ...wrapped("", `defeated by enforceNonMasquerade: ${defeated}`, width)]),
    ...(harmless.length > 0
      ? ["", ...wrapped("", `harmless NAT rules: ${[...new Set(harmless)].join(", ")}`, width)]
      : []),
  ];
}

function leaksText(leaks: NonNullable<Status["leaks"]>): string {
  return leaks.map(({ family, packets }) => `${packets} ${FAMILY_NAMES[family]} packets`).join(", ");
}

function conntrackText({ entries, limit, insertFailed }: NonNullable<Status["conntrack"]>): string {
  const failed = insertFailed === undefined ? "" : `; ${insertFailed} dropped`;
  return `${entries} of ${limit} connections (${Math.round((100 * entries) / limit)} %)${failed}`;
}

/** The CIDRs with the most connections, in the order of the policy, and the destinations outside of all CIDRs. */
function table(
  { policy, cidrs, outbound }: Status,
  { most, width, rates }: { most: number; width: number; rates: Rates | undefined },
): string[] {
  if (!policy) return [];
  const rate = (it: Parameters<Rates>[0]) => (rates ? [rates(it)?.toFixed(1) ?? "-"] : []);
  const shown = busiest(cidrs, most, it => it.connections ?? -1);
  const rows = shown.map(it => [
    it.cidr,
    it.inside === undefined ? it.verdict : `in ${it.inside}`,
    ...[number(it.connections), ...rate(it), number(it.bytes)],
    formatOrigin(it.origin),
  ]);
  const rest = outbound.map(it => [
    it.family === "ip" ? "all other IPv4" : "all other IPv6",
    "masquerade",
    ...[number(it.connections), ...rate(it), number(it.bytes)],
    "",
  ]);
  const headings = ["CIDR", "VERDICT", "CONNECTIONS", ...(rates ? ["PER SECOND"] : []), "BYTES", "FROM"];
  const last = headings.length - 1;
  const more = cidrs.length - rows.length;
  return [
    "",
    ...columns([headings, ...rows, ...rest], {
      numbers: headings.flatMap((_, i) => (i > 1 && i < last ? [i] : [])),
      narrow: [
        [last, 0],
        [1, LEAST_VERDICT],
      ],
      width,
    }),
    ...(more > 0 ? wrapped("", `and ${more} CIDRs with fewer connections; --all shows them`, width) : []),
  ];
}

const LEAST_VERDICT = 10;

function number(value: number | undefined): string {
  return value === undefined ? "-" : `${value}`;
}
