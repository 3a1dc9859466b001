import type { Backend } from "../backends/backend.ts";
import type { Log } from "../observe/log.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";

/**
 * Logs how many live connections contradict a policy that came into force. Logs nothing if there are none, or if the
 * conntrack table is large. Throws nothing.
 */
export async function logStaleConnections(policy: Policy, backend: Backend["name"], log: Log): Promise<void> {
  try {
    const { MOST_ENTRIES, readConntrack } = await import("../inspect/conntrack.ts");
    const entries = (await readConntrack())?.entries ?? 0;
    if (entries === 0 || entries >= MOST_ENTRIES) return;
    const { judgeFor, judgeWithConflicts, staleCount } = await import("../inspect/live-connections.ts");
    if ((await staleCount(policy, await judgeFor(policy, []))) === 0) return;
    // Foreign rules are read only now, because that costs more.
    const { judge, unread } = await judgeWithConflicts(policy, backend);
    const connections = await staleCount(policy, judge);
    if (connections === 0) return;
    const facts = { connections, list: "ipmasq connections --stale", unread: unread[0] };
    if (unread.length > 0) log.info("live connections may contradict the policy", facts);
    else log.info("live connections contradict the policy", facts);
  } catch (error) {
    log.debug("live connections not counted", { error: messageOf(error) });
  }
}
