import type { Counter } from "../../src/backends/backend.ts";
import { Cidr } from "../../src/net/cidr.ts";
import { AgentState } from "../../src/observe/agent-state.ts";
import type { SyncRecord } from "../../src/observe/sync-stats.ts";

/** The state of an agent that has just been started. */
export function agentState(): AgentState {
  const at = Date.UTC(2026, 0, 2, 3, 4, 5);
  const state = new AgentState({ version: "1.2.3", commit: "0123456789ab", bun: "1.4.5" }, at);
  state.backend = {
    backend: "nftables",
    writer: "nft",
    reason: "nft 1.1.3 is installed and the kernel accepts the ruleset",
    fallback: false,
  };
  return state;
}

/** Calls `listener` after each sync from now on. */
export function onSync(state: AgentState, listener: (sync: SyncRecord) => void): void {
  const ended = state.syncEnded.bind(state);
  state.syncEnded = sync => {
    ended(sync);
    listener(sync);
  };
}

/** A sync of 15 ms. */
export function synced(
  result: SyncRecord["result"],
  trigger: SyncRecord["trigger"],
  message?: string,
): SyncRecord {
  const at = Date.UTC(2026, 0, 2, 3, 4, 6);
  return { at, trigger, result, seconds: 0.015, ...(message === undefined ? {} : { message }) };
}

/** @param cidr `rest` for connections outside all CIDRs */
export function counter(
  verdict: Counter["verdict"],
  cidr: string,
  connections: number,
  bytes: number,
): Counter {
  return {
    family: "ip",
    verdict,
    cidr: cidr === "rest" ? undefined : Cidr.literal(cidr),
    connections,
    bytes,
  };
}
