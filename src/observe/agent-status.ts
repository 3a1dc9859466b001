import { networkInterfaces } from "node:os";
import { formatProblems } from "../config/problem.ts";
import { readConntrack } from "../inspect/conntrack.ts";
import { podProblems } from "../inspect/pods.ts";
import { policyStatus, type Status } from "../inspect/status.ts";
import type { Journal, SyncRecord } from "./journal.ts";

/** What an agent knows of itself, for `ipmasq status`. */
export async function agentStatus(journal: Journal): Promise<Status> {
  const { start, backend, inSync, since, unready, config, policy, totals, syncs, competing, warnings } =
    journal;
  const conntrack = await readConntrack();
  return {
    from: "agent",
    version: start.version,
    ...backend,
    inSync,
    since: new Date(since).toISOString(),
    ...(unready === undefined ? {} : { why: unready }),
    config: config?.path ?? "",
    ...(policy ? policyStatus(policy, totals.counters) : { cidrs: [], outbound: [] }),
    ...(conntrack && { conntrack }),
    competing: [...competing],
    problems: [
      ...formatProblems(config?.problems ?? []),
      ...warnings.values(),
      ...(policy ? podProblems(policy, networkInterfaces()) : []),
      ...syncs.flatMap(problem),
    ],
  };
}

/** A sync that is worth to be told of. */
function problem({ at, result, message }: SyncRecord): string[] {
  if (result !== "failed" && result !== "repaired") return [];
  return [`${new Date(at).toISOString()} ${result}: ${message ?? ""}`];
}
