import { networkInterfaces } from "node:os";
import { formatProblems } from "../config/problem.ts";
import { readConntrack } from "../inspect/conntrack.ts";
import { ownServicesNote } from "../inspect/own-services.ts";
import { podProblems } from "../inspect/pods.ts";
import { policySummary, type Status, statusCidrs, unreadText } from "../inspect/status.ts";
import { printableJson } from "../system/printable.ts";
import type { AgentState } from "./agent-state.ts";
import type { SyncRecord } from "./sync-stats.ts";

/** The agent's status, for `ipmasq status`. */
export async function statusReport(state: AgentState): Promise<Status> {
  const { policy, totals } = state;
  const head = await statusHead(state);
  return policy ? { ...head, cidrs: [...statusCidrs(policy, totals.of)] } : head;
}

/** The same as JSON, in pieces because there may be many CIDRs. */
export async function statusReportJson(state: AgentState): Promise<Iterable<string>> {
  const { policy, totals } = state;
  const head = printableJson(JSON.stringify(await statusHead(state)));
  return policy ? withCidrs(head, statusCidrs(policy, totals.of)) : [`${head}\n`];
}

/** Inserts CIDRs into the JSON of a status without CIDRs. */
function* withCidrs(head: string, cidrs: Iterable<Status["cidrs"][number]>): Generator<string> {
  const empty = '"cidrs":[]';
  const end = head.lastIndexOf(empty) + empty.length - 1;
  yield head.slice(0, end);
  let comma = "";
  for (const cidr of cidrs) {
    yield `${comma}${printableJson(JSON.stringify(cidr))}`;
    comma = ",";
  }
  yield `${head.slice(end)}\n`;
}

/** The status without CIDRs. The empty list of CIDRs is its last key. */
export async function statusHead(state: AgentState): Promise<Status> {
  const { build, node, backend, inSync, since, unready, config, policy, totals, syncs } = state;
  const { contested, conflicts, unread, warnings } = state;
  const conntrack = await readConntrack();
  const own = policy && (await ownServicesNote(policy));
  const notes = [own, warnings.get(CAUTION)].filter(it => it !== undefined);
  const events = syncs.flatMap(eventOf);
  return {
    from: "agent",
    version: build.version,
    node,
    ...backend,
    inSync,
    since: new Date(since).toISOString(),
    ...(unready === undefined ? {} : { why: unready }),
    ...(contested && { contested }),
    ...(config?.ok === false && { configRejected: true }),
    config: config?.path ?? "",
    ...(policy ? policySummary(policy, totals.of) : { outbound: [] }),
    ...(conntrack && { conntrack }),
    conflicts: [...conflicts],
    ...(unread.length > 0 && { unread: [...unread] }),
    ...(notes.length > 0 && { notes }),
    ...(events.length > 0 && { events }),
    problems: [
      ...formatProblems(config?.problems ?? []),
      ...(policy ? podProblems(policy, networkInterfaces()) : []),
      ...unread.map(unreadText),
      ...byUrgency(warnings),
    ],
    cidrs: [],
  };
}

/** The topic of a warning that has done no harm yet: a note, not a problem. */
const CAUTION = "writer";

/** Warnings in the order of `status`, whose headline shows only the first. */
function byUrgency(warnings: ReadonlyMap<string, string>): string[] {
  const rank = (topic: string) => (topic === "config" ? 0 : 1);
  return [...warnings]
    .filter(([topic]) => topic !== CAUTION)
    .toSorted(([a], [b]) => rank(a) - rank(b))
    .map(([, text]) => text);
}

/** A failed or repairing sync in a line; nothing for others. */
function eventOf({ at, result, message }: SyncRecord): string[] {
  if (result !== "failed" && result !== "repaired") return [];
  return [`${new Date(at).toISOString()} ${result}: ${message ?? ""}`];
}
