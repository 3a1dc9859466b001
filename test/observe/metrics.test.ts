import { expect, test } from "bun:test";
import type { AgentState } from "../../src/observe/agent-state.ts";
import { Exposition } from "../../src/observe/exposition.ts";
import { createLog } from "../../src/observe/log.ts";
import { run } from "../../src/system/program.ts";
import { policy } from "../policies.ts";
import { programTest } from "../programs.ts";
import { agentState, counter, synced } from "./agent-states.ts";

/** Shows at most three CIDRs; its log lines go to `logged`. */
function metricsOf(state: AgentState, logged: string[] = []): Exposition {
  return new Exposition(
    state,
    createLog("info", "text", line => logged.push(line)),
    3,
  );
}

/** The values, by name with labels. */
async function samples(metrics: Exposition): Promise<Record<string, number>> {
  const lines = [...(await metrics.text())]
    .join("")
    .split("\n")
    .filter(line => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(
    lines.map(line => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]),
  );
}

test("metrics of an agent before its first sync", async () => {
  expect(await samples(metricsOf(agentState()))).toMatchObject({
    'ipmasq_build_info{version="1.2.3",commit="0123456789ab",bun="1.4.5"}': 1,
    'ipmasq_backend_info{backend="nftables",writer="nft"}': 1,
    ipmasq_fallback: 0,
    ipmasq_sync_last_success_timestamp_seconds: 0,
    ipmasq_sync_duration_seconds_count: 0,
    ipmasq_kernel_in_sync: 0,
    ipmasq_rules_contested: 0,
    ipmasq_conflicts: 0,
    ipmasq_config_last_reload_successful: 0,
    ipmasq_config_last_reload_success_timestamp_seconds: 0,
    ipmasq_config_hash: 0,
    ipmasq_config_cidrs: 0,
    ipmasq_drift_repairs_total: 0,
  });
});

test("syncs are counted by trigger and result", async () => {
  const state = agentState();
  state.syncEnded(synced("applied", "start"));
  const metrics = metricsOf(state);
  state.syncEnded(synced("repaired", "kernel", "by=nft"));
  state.syncEnded(synced("repaired", "kernel", "by=nft"));
  expect(await samples(metrics)).toMatchObject({
    'ipmasq_syncs_total{trigger="start",result="applied"}': 1,
    'ipmasq_syncs_total{trigger="kernel",result="repaired"}': 2,
    ipmasq_sync_duration_seconds_count: 3,
    'ipmasq_sync_duration_seconds_bucket{le="0.01"}': 0,
    'ipmasq_sync_duration_seconds_bucket{le="0.025"}': 3,
    'ipmasq_sync_duration_seconds_bucket{le="+Inf"}': 3,
    ipmasq_sync_duration_seconds_sum: 0.045,
    ipmasq_drift_repairs_total: 2,
    ipmasq_kernel_in_sync: 1,
    ipmasq_sync_last_success_timestamp_seconds: Date.UTC(2026, 0, 2, 3, 4, 6) / 1000,
  });
  state.syncEnded(synced("failed", "interval", "no nft"));
  expect(await samples(metrics)).toMatchObject({
    'ipmasq_syncs_total{trigger="interval",result="failed"}': 1,
    ipmasq_kernel_in_sync: 0,
  });
});

test("a rejected config keeps the time of the last accepted one", async () => {
  const state = agentState();
  const metrics = metricsOf(state);
  state.config = { path: "/config", ok: false, problems: [], digest: "00000000000f".padEnd(64, "a") };
  state.configAcceptedAt = state.startedAt;
  state.policy = policy({ keep: ["10.0.0.0/8", "10.1.0.0/16"], masquerade: ["10.2.0.0/16"] });
  expect(await samples(metrics)).toMatchObject({
    ipmasq_config_last_reload_successful: 0,
    ipmasq_config_last_reload_success_timestamp_seconds: 1_767_323_045,
    ipmasq_config_hash: 15,
    ipmasq_config_cidrs: 4, // with link-local
  });
});

test("counters continue when the kernel's restart, and CIDRs outside the policy have no series", async () => {
  const state = agentState();
  const metrics = metricsOf(state);
  const { totals } = state;
  const writer = "nft";
  const before = [
    counter("keep", "10.0.0.0/8", 5, 300),
    counter("keep", "192.0.2.0/24", 7, 420),
    counter("masquerade", "rest", 2, 120),
  ];
  totals.read({ writer, counters: before });
  totals.wrote({ writer }, [counter("keep", "10.0.0.0/8", 0, 0), counter("masquerade", "rest", 0, 0)]);
  totals.read({
    writer,
    counters: [counter("keep", "10.0.0.0/8", 1, 60), counter("masquerade", "rest", 0, 0)],
  });
  totals.keep(policy({ keep: ["10.0.0.0/8"] }));
  const now = await samples(metrics);
  expect(now).toMatchObject({
    'ipmasq_cidr_connections_total{cidr="10.0.0.0/8",verdict="keep"}': 6,
    'ipmasq_cidr_bytes_total{cidr="10.0.0.0/8",verdict="keep"}': 360,
    'ipmasq_connections_total{verdict="keep"}': 13,
    'ipmasq_connections_total{verdict="masquerade"}': 2,
    'ipmasq_bytes_total{verdict="keep"}': 780,
  });
  expect(Object.keys(now).filter(name => name.includes("192.0.2.0/24"))).toEqual([]);
});

test("quotes, backslashes and line breaks in labels are escaped", async () => {
  const state = agentState();
  state.backend = { backend: "nftables", writer: `a"b\\c\nd`, reason: "", fallback: true };
  expect(await samples(metricsOf(state))).toMatchObject({
    'ipmasq_backend_info{backend="nftables",writer="a\\"b\\\\c\\nd"}': 1,
    ipmasq_fallback: 1,
  });
});

test("CIDRs beyond the limit count in the sums but have no series", async () => {
  const state = agentState();
  state.policy = policy({ keep: Array.from({ length: 10 }, (_, i) => `10.${i}.0.0/16`) });
  const counters = Array.from({ length: 10 }, (_, i) => counter("keep", `10.${i}.0.0/16`, i, i));
  state.totals.read({ writer: "nft", counters });
  const now = await samples(metricsOf(state));
  expect(now).toMatchObject({
    ipmasq_config_cidrs: 11, // with link-local
    ipmasq_cidrs_without_series: 7,
    'ipmasq_connections_total{verdict="keep"}': 45,
  });
  expect(Object.keys(now).filter(name => name.startsWith("ipmasq_cidr_connections_total"))).toEqual([
    'ipmasq_cidr_connections_total{cidr="10.0.0.0/16",verdict="keep"}',
    'ipmasq_cidr_connections_total{cidr="10.1.0.0/16",verdict="keep"}',
    'ipmasq_cidr_connections_total{cidr="10.2.0.0/16",verdict="keep"}',
  ]);
});

test.each([Number.NaN, Number.POSITIVE_INFINITY])(
  "a counter of %d is left out and logged once; all others are present",
  async wrong => {
    const state = agentState();
    const counters = [
      counter("keep", "10.0.0.0/8", 5, 300),
      counter("keep", "192.0.2.0/24", wrong, 1),
      counter("masquerade", "rest", 2, 120),
    ];
    state.totals.read({ writer: "nft", counters });
    const logged: string[] = [];
    const metrics = metricsOf(state, logged);
    await samples(metrics);
    const now = await samples(metrics);
    expect(now).toMatchObject({
      'ipmasq_cidr_connections_total{cidr="10.0.0.0/8",verdict="keep"}': 5,
      'ipmasq_cidr_bytes_total{cidr="192.0.2.0/24",verdict="keep"}': 1,
      'ipmasq_connections_total{verdict="masquerade"}': 2,
      'ipmasq_bytes_total{verdict="keep"}': 301,
      ipmasq_kernel_in_sync: 0,
    });
    expect(now['ipmasq_cidr_connections_total{cidr="192.0.2.0/24",verdict="keep"}']).toBeUndefined();
    const said = logged.filter(line => line.includes("metric=ipmasq_cidr_connections_total"));
    expect(said).toHaveLength(1);
    expect(said[0]).toContain(`ERROR metric left out; please report this`);
  },
);

test("process metrics", async () => {
  const now = await samples(metricsOf(agentState()));
  expect(now.process_resident_memory_bytes).toBeGreaterThan(1e6);
  expect(now.process_cpu_seconds_total).toBeGreaterThan(0);
  expect(now.process_open_fds).toBeGreaterThan(2);
  expect(now.process_max_fds).toBeGreaterThan(2);
  expect(now.process_start_time_seconds).toBeWithin(1.6e9, Date.now() / 1000 + 1);
});

await programTest("promtool", "promtool accepts the metrics", async promtool => {
  const state = agentState();
  state.config = { path: "/config", ok: true, problems: [], digest: "ab".repeat(32) };
  state.policy = policy();
  state.syncEnded(synced("applied", "start"));
  const counters = [counter("keep", "10.0.0.0/8", 5, 300), counter("masquerade", "rest", 2, 120)];
  state.totals.read({ writer: "nft", counters });
  const text = [...(await metricsOf(state).text())].join("");
  expect(text).toContain("ipmasq_conntrack_entries");
  const { stdout, stderr, exitCode } = await run(promtool.command(["promtool", "check", "metrics"]), {
    input: text,
  });
  expect({ stdout, stderr, exitCode }).toEqual({ stdout: "", stderr: "", exitCode: 0 });
});
