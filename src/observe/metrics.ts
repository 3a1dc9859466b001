import { harmfulOf } from "../conflicts/conflict.ts";
import { VERDICTS } from "../net/verdict.ts";
import { listsOf } from "../policy/policy.ts";
import type { AgentState } from "./agent-state.ts";
import type { Metric, MetricSource, Sample } from "./metric.ts";
import { PROCESS_METRICS } from "./process-metrics.ts";

const VERDICT = { verdict: "`keep` or `masquerade`" };
const CIDR = { cidr: "a CIDR of the policy", ...VERDICT };

/** All metrics, by Prometheus' naming conventions. Their names are stable from version to version. */
export const METRICS = [
  {
    name: "ipmasq_build_info",
    type: "gauge",
    help: "Build information; always 1.",
    labels: { version: "of ipmasq", commit: "commit of the source", bun: "version of Bun" },
    read: ({ state }) => [{ value: 1, labels: { ...state.build } }],
  },
  {
    name: "ipmasq_backend_info",
    type: "gauge",
    help: "The backend and the program that it writes rules with; always 1.",
    labels: {
      backend: "`nftables`, `iptables` or `none`",
      writer: "`nft`, `iptables-nft`, `iptables-legacy` or `none`",
    },
    read: ({ state: { backend } }) => [
      { value: 1, labels: { backend: backend?.backend ?? "none", writer: backend?.writer ?? "none" } },
    ],
  },
  {
    name: "ipmasq_fallback",
    type: "gauge",
    help: "1 while a fallback writes the rules because the preferred backend fails, else 0.",
    read: ({ state }) => Number(state.backend?.fallback ?? false),
  },
  {
    name: "ipmasq_syncs_total",
    type: "counter",
    help: "Syncs, by trigger and result.",
    labels: {
      trigger: "`start`, `config`, `address`, `kernel`, `interval` or `signal`",
      result: "`unchanged`, `applied`, `repaired` or `failed`",
    },
    *read({ state }) {
      for (const { count, ...labels } of state.stats.byOutcome()) yield { value: count, labels };
    },
  },
  {
    name: "ipmasq_sync_duration_seconds",
    type: "histogram",
    help: "Duration of syncs.",
    *read({ state: { stats } }) {
      for (const { bound, count } of stats.cumulative()) {
        const le = Number.isFinite(bound) ? `${bound}` : "+Inf";
        yield { suffix: "_bucket", labels: { le }, value: count };
      }
      yield { suffix: "_sum", value: stats.seconds };
      yield { suffix: "_count", value: stats.count };
    },
  },
  {
    name: "ipmasq_sync_last_success_timestamp_seconds",
    type: "gauge",
    help: "Unix time of the last successful sync; 0 before the first.",
    read: ({ state }) => (state.lastSuccess ?? 0) / 1000,
  },
  {
    name: "ipmasq_kernel_in_sync",
    type: "gauge",
    help: "1 if the kernel had the policy's rules at the last sync, else 0.",
    read: ({ state }) => Number(state.inSync),
  },
  {
    name: "ipmasq_drift_repairs_total",
    type: "counter",
    help: "Syncs that repaired rules which another program had changed.",
    read: ({ state }) => state.stats.repairs,
  },
  {
    name: "ipmasq_rules_contested",
    type: "gauge",
    help: "1 while another program keeps changing ipmasq's rules, else 0.",
    read: ({ state }) => Number(state.contested),
  },
  {
    name: "ipmasq_conflicts",
    type: "gauge",
    help: "Foreign NAT rules that masquerade connections which the policy keeps, or exempt connections which it masquerades.",
    read: ({ state }) => harmfulOf(state.conflicts).length,
  },
  {
    name: "ipmasq_conflicts_defeated",
    type: "gauge",
    help: "Foreign NAT rules that enforceNonMasquerade prevents from masquerading kept connections.",
    read: ({ state }) => state.conflicts.filter(({ defeated }) => defeated).length,
  },
  {
    name: "ipmasq_config_last_reload_successful",
    type: "gauge",
    help: "1 if the config is valid, 0 if it was rejected or not read yet.",
    read: ({ state }) => Number(state.config?.ok ?? false),
  },
  {
    name: "ipmasq_config_last_reload_success_timestamp_seconds",
    type: "gauge",
    help: "Unix time when a config was last accepted; 0 before the first.",
    read: ({ state }) => (state.configAcceptedAt ?? 0) / 1000,
  },
  {
    name: "ipmasq_config_hash",
    type: "gauge",
    help: "First 48 bits of the hash of the config files, to compare nodes.",
    read: ({ state }) => Number.parseInt(state.config?.digest.slice(0, 12) || "0", 16),
  },
  {
    name: "ipmasq_config_cidrs",
    type: "gauge",
    help: "CIDRs of the policy, redundant ones included.",
    read: ({ state }) => cidrsOf(state),
  },
  {
    name: "ipmasq_connections_total",
    type: "counter",
    help: "New connections, by verdict.",
    labels: VERDICT,
    read: from => byVerdict(from, "connections"),
  },
  {
    name: "ipmasq_bytes_total",
    type: "counter",
    help: "Bytes of the first packets of new connections, by verdict.",
    labels: VERDICT,
    read: from => byVerdict(from, "bytes"),
  },
  {
    name: "ipmasq_leaks_dropped_total",
    type: "counter",
    help: "Packets dropped because they would have left with their own address although the policy masquerades them; see dropLeaks.",
    read: ({ state }) => state.totals.byVerdict.drop.connections,
  },
  {
    name: "ipmasq_cidr_connections_total",
    type: "counter",
    help: "New connections by CIDR and verdict, for at most --metrics-cidr-limit CIDRs.",
    labels: CIDR,
    read: from => byCidr(from, "connections"),
  },
  {
    name: "ipmasq_cidr_bytes_total",
    type: "counter",
    help: "Bytes of the first packets of new connections by CIDR and verdict, for at most --metrics-cidr-limit CIDRs.",
    labels: CIDR,
    read: from => byCidr(from, "bytes"),
  },
  {
    name: "ipmasq_cidrs_without_series",
    type: "gauge",
    help: "CIDRs without their own series because of --metrics-cidr-limit.",
    read({ state, mostCidrs }) {
      const cidrs = state.totals.counters.filter(({ cidr }) => cidr).length;
      return Math.max(cidrs - mostCidrs, 0);
    },
  },
  {
    name: "ipmasq_conntrack_entries",
    type: "gauge",
    help: "Connections in the node's conntrack table.",
    read: ({ conntrack }) => conntrack?.entries,
  },
  {
    name: "ipmasq_conntrack_entries_limit",
    type: "gauge",
    help: "Maximum number of connections in the node's conntrack table.",
    read: ({ conntrack }) => conntrack?.limit,
  },
  {
    name: "ipmasq_conntrack_insert_failed_total",
    type: "counter",
    help: "Connections dropped because conntrack could not insert them, usually because no source port was free.",
    read: ({ conntrack }) => conntrack && (conntrack.insertFailed ?? 0),
  },
  ...PROCESS_METRICS,
] as const satisfies readonly Metric[];

export type MetricName = (typeof METRICS)[number]["name"];

type Counted = "connections" | "bytes";

function* byVerdict({ state }: MetricSource, what: Counted): Generator<Sample> {
  for (const verdict of VERDICTS) yield { value: state.totals.byVerdict[verdict][what], labels: { verdict } };
}

function* byCidr({ state, mostCidrs }: MetricSource, what: Counted): Generator<Sample> {
  let left = mostCidrs;
  for (const { cidr, verdict, [what]: value } of state.totals.counters) {
    if (!cidr) continue;
    if (left-- <= 0) return;
    yield { value, labels: { cidr: cidr.text, verdict } };
  }
}

function cidrsOf({ policy }: AgentState): number {
  const lists = (policy?.families ?? []).flatMap(listsOf);
  return lists.reduce((sum, { list }) => sum + list.effective.length + list.redundant.length, 0);
}
