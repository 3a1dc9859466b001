import type { Backend } from "../backends/backend.ts";
import { removeAll } from "../backends/removal.ts";
import { formatDuration } from "../net/duration.ts";
import type { Log } from "../observe/log.ts";
import { within } from "../system/timing.ts";
import type { Agent } from "./agent.ts";

/**
 * Removes the rules of an agent that ends, as the command `cleanup` does, unless they may be another agent's. Does not
 * wait for a program that hangs. Throws nothing.
 *
 * @param backends all backends that may have written rules
 */
export async function cleanUpOnExit(
  agent: Pick<Agent, "ownsRules">,
  backends: () => Promise<readonly Backend[]>,
  log: Log,
): Promise<void> {
  if (!agent.ownsRules) {
    log.info("rules kept: this agent is not active or never had a policy in force");
    return;
  }
  const removal = await within(CLEANUP_MS, backends().then(removeAll));
  if (!removal) {
    log.error("cleanup timed out; rules may remain", { after: formatDuration(CLEANUP_MS) });
    return;
  }
  const removed = removal.done.map(line => line.replace(/^removed /, "")).join(", ");
  log.info("rules removed", { removed });
  for (const failure of removal.failures) log.error(failure);
}

/** Cleanup takes some 100 ms, or some seconds with 100,000 CIDRs. systemd waits 10 s before SIGKILL, kubelet 30 s. */
const CLEANUP_MS = 5000;
