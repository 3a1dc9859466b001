import { expect, test } from "bun:test";
import { statusText } from "../../src/inspect/status-text.ts";
import { statusReport } from "../../src/observe/status-report.ts";
import { policy } from "../policies.ts";
import { agentState, synced } from "./agent-states.ts";

test("current problems are apart from failed syncs", async () => {
  const state = agentState();
  state.policy = policy({ sources: ["10.244.0.0/16"] });
  state.warnings.set("fallback", "iptables-nft writes the rules because nft fails");
  for (let i = 0; i < 12; i++) state.syncEnded(synced("failed", "interval", `failure ${i}`));
  const status = await statusReport(state);
  expect(status.problems).toEqual(["iptables-nft writes the rules because nft fails"]);
  expect(status.events).toHaveLength(12);
  const lines = statusText(status);
  expect(lines).toContain("problems      iptables-nft writes the rules because nft fails");
  expect(lines.slice(-4)).toEqual([
    "repairs and failed syncs",
    ...[9, 10, 11].map(i => `  2026-01-02T03:04:06.000Z failed: failure ${i}`),
  ]);
});

test("the config comes first among the problems, and the writer's caution is a note", async () => {
  const state = agentState();
  for (const topic of ["writer", "limits", "config"]) state.warnings.set(topic, topic);
  const { problems, notes } = await statusReport(state);
  expect([problems, notes]).toEqual([["config", "limits"], ["writer"]]);
});
