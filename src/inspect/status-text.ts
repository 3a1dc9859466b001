import { conflictText, defeatedText, effectText, remedyText, some } from "../conflicts/conflict.ts";
import { describePolicy } from "../policy/describe.ts";
import { formatOrigin } from "../policy/policy.ts";
import { printable } from "../system/printable.ts";
import type { Status } from "./status.ts";

/** The maximum number of CIDRs on the screen; the JSON has all. */
const MOST_CIDRS = 40;
const MOST_PROBLEMS = 10;
const MOST_CONFLICTS = 5;

/** Returns a status as lines for one screen, without control characters. */
export function statusText(status: Status): string[] {
  return lines(status).map(printable);
}

function lines(status: Status): string[] {
  const {
    inSync,
    since,
    why,
    backend,
    writer,
    reason,
    config,
    policy,
    leaks,
    conntrack,
    problems,
    notes = [],
  } = status;
  const moment = since === undefined ? "" : ` since ${since.slice(0, 19).replace("T", " ")} UTC`;
  return [
    `${inSync ? "in sync" : "NOT in sync"}${moment}${why === undefined ? "" : `: ${why}`}`,
    "",
    ...facts({
      "reported by":
        status.from === "agent"
          ? `the agent, version ${status.version}`
          : "kernel and config; no agent answers",
      backend: backend === undefined ? "none" : `${backend}, by ${writer}: ${reason}`,
      ...(status.kernel !== undefined && { kernel: status.kernel }),
      config,
      ...(policy && Object.fromEntries(describePolicy(policy).map(({ label, text }) => [label, text]))),
      ...(leaks && { "dropped leaks": leaksText(leaks) }),
      ...(conntrack && { conntrack: conntrackText(conntrack) }),
    }),
    ...(policy ? ["", ...table(status)] : []),
    ...conflictLines(status),
    ...(notes.length > 0 ? ["", "notes", ...notes.map(it => `  ${it}`)] : []),
    ...(problems.length > 0 ? ["", "problems", ...problemLines(problems)] : []),
  ];
}

/** The current problems come last. */
function problemLines(problems: readonly string[]): string[] {
  const earlier = problems.length - MOST_PROBLEMS;
  const note = earlier > 0 ? [`  ${earlier} earlier problems; --output=json has all`] : [];
  return [...note, ...problems.slice(-MOST_PROBLEMS).map(it => `  ${it}`)];
}

/** Harmless conflicts are only named. */
function conflictLines({ conflicts }: Status): string[] {
  const harmful = conflicts.filter(({ harmless }) => !harmless);
  const others = conflicts
    .filter(({ harmless, defeated }) => harmless && !defeated)
    .map(({ kind, owner, only, exempts = [] }) => {
      if (kind === "exempts") return `${owner} (exempts ${only ?? "connections"} to ${some(exempts)})`;
      return only === undefined ? owner : `${owner} (only ${only})`;
    });
  const lines = harmful
    .slice(0, MOST_CONFLICTS)
    .flatMap(it => [`  ${conflictText(it)}`, `    ${effectText(it)}`, `    ${remedyText(it)}`]);
  const defeated = defeatedText(conflicts);
  const more = harmful.length > MOST_CONFLICTS ? [`  and ${harmful.length - MOST_CONFLICTS} more`] : [];
  return [
    ...(lines.length > 0 ? ["", "conflicts", ...lines, ...more] : []),
    ...(defeated === undefined ? [] : ["", `defeated by enforceNonMasquerade: ${defeated}`]),
    ...(others.length > 0 ? ["", `harmless NAT rules: ${[...new Set(others)].join(", ")}`] : []),
  ];
}

function facts(all: Readonly<Record<string, string>>): string[] {
  const width = Math.max(...Object.keys(all).map(name => name.length));
  return Object.entries(all).map(([name, value]) => `${name.padEnd(width)}  ${value}`);
}

function leaksText(leaks: NonNullable<Status["leaks"]>): string {
  return leaks
    .map(({ family, packets }) => `${packets} ${family === "ip" ? "IPv4" : "IPv6"} packets`)
    .join(", ");
}

function conntrackText({ entries, limit, insertFailed }: NonNullable<Status["conntrack"]>): string {
  const failed = insertFailed === undefined ? "" : `; ${insertFailed} dropped`;
  return `${entries} of ${limit} connections (${Math.round((100 * entries) / limit)} %)${failed}`;
}

function table({ cidrs, outbound }: Status): string[] {
  const rows = cidrs
    .slice(0, MOST_CIDRS)
    .map(({ cidr, verdict, inside, connections, bytes, origin }) => [
      cidr,
      inside === undefined ? verdict : `in ${inside}`,
      number(connections),
      number(bytes),
      formatOrigin(origin),
    ]);
  const more =
    cidrs.length > MOST_CIDRS ? [`and ${cidrs.length - MOST_CIDRS} more; --output=json has all`] : [];
  const rest = outbound.map(({ family, connections, bytes }) => [
    family === "ip" ? "all other IPv4" : "all other IPv6",
    "masquerade",
    number(connections),
    number(bytes),
    "",
  ]);
  return [
    ...columns([["CIDR", "VERDICT", "CONNECTIONS", "BYTES", "FROM"], ...rows, ...rest], [2, 3]),
    ...more,
  ];
}

function number(value: number | undefined): string {
  return value === undefined ? "-" : `${value}`;
}

/**
 * Returns columns like kubectl.
 *
 * @param numbers the columns that are aligned to the right
 */
export function columns(rows: readonly (readonly string[])[], numbers: readonly number[]): string[] {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(cell.length, most[i] ?? 0)),
    [],
  );
  return rows.map(row =>
    row
      .map((cell, i) => (numbers.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}
