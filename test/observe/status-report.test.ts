import { expect, test } from "bun:test";
import { statusText } from "../../src/inspect/status-text.ts";
import { statusReport } from "../../src/observe/status-report.ts";
import { policy } from "../policies.ts";
import { agentState, synced } from "./agent-states.ts";

test("current problems are shown after many failed syncs", async () => {
  const state = agentState();
  state.policy = policy({ sources: ["10.244.0.0/16"] });
  state.warnings.set("fallback", "iptables-nft writes the rules because nft fails");
  for (let i = 0; i < 12; i++) state.syncEnded(synced("failed", "interval", `failure ${i}`));
  const { problems } = await statusReport(state);
  expect(problems.at(-1)).toBe("iptables-nft writes the rules because nft fails");
  const lines = statusText(await statusReport(state));
  expect(lines.slice(lines.indexOf("problems")).slice(0, 12)).toEqual([
    "problems",
    "  3 earlier problems; --all shows them",
    ...Array.from({ length: 9 }, (_, i) => `  2026-01-02T03:04:06.000Z failed: failure ${i + 3}`),
    "  iptables-nft writes the rules because nft fails",
  ]);
});
