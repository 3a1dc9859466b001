/** The Grafana dashboard: `npm run manifests` writes it to deploy/monitoring/dashboard.json. */
import type { MetricName } from "../src/observe/metrics.ts";

const DATASOURCE = { type: "prometheus", uid: "$datasource" };
/** Sizes of panels in Grafana's grid, which is 24 wide. */
const [STAT, GRAPH] = [
  { w: 4, h: 4 },
  { w: 12, h: 8 },
];

/** An expression and the legend of its results. */
type Query = readonly [expr: string, legend?: string];

interface Panel {
  readonly title: string;
  readonly description: string;
  readonly unit?: string;
  readonly queries: readonly Query[];
}

/** The stats at the top, red from the value `bad` on. */
const STATS: readonly (Panel & { readonly bad?: number })[] = [
  {
    title: "Agents",
    description: "Agents that Prometheus scrapes.",
    queries: [[`count(${of("ipmasq_build_info")})`]],
  },
  {
    title: "Out of sync",
    description: "Nodes whose rules do not match the config. For the reason: ipmasq status.",
    bad: 1,
    queries: [[`sum(1 - ${of("ipmasq_kernel_in_sync")})`]],
  },
  {
    title: "Config rejected",
    description:
      "Nodes that keep the last good policy because the config is invalid. To see why: ipmasq check.",
    bad: 1,
    queries: [[`sum(1 - ${of("ipmasq_config_last_reload_successful")})`]],
  },
  {
    title: "Different configs",
    description: "The number of different configs; 1 if all nodes have the same.",
    bad: 2,
    queries: [[`count(count_values("hash", ${of("ipmasq_config_hash")}))`]],
  },
  {
    title: "Contested",
    description: "Nodes where another program keeps changing ipmasq's rules. The agent's log names it.",
    bad: 1,
    queries: [[`sum(${of("ipmasq_rules_contested")})`]],
  },
  {
    title: "Conflicts",
    description: "Foreign NAT rules that conflict with the policy. To list them: ipmasq status.",
    bad: 1,
    queries: [[`sum(${of("ipmasq_conflicts")})`]],
  },
];

const GRAPHS: readonly Panel[] = [
  {
    title: "New connections by verdict",
    description: "Connections that leave the nodes, counted by their first packet.",
    unit: "cps",
    queries: [[`sum by (verdict) (${rate("ipmasq_connections_total")})`, "{{verdict}}"]],
  },
  {
    title: "New connections by CIDR, top 10",
    description: "The CIDRs of the policy that match most new connections.",
    unit: "cps",
    queries: [
      [`topk(10, sum by (cidr, verdict) (${rate("ipmasq_cidr_connections_total")}))`, "{{cidr}} {{verdict}}"],
    ],
  },
  {
    title: "Syncs by trigger and result",
    description: "Unchanged syncs write nothing.",
    unit: "short",
    queries: [[`sum by (trigger, result) (${increase("ipmasq_syncs_total")})`, "{{trigger}}: {{result}}"]],
  },
  {
    title: "Sync duration",
    description: "Median and 99th percentile.",
    unit: "s",
    queries: [0.5, 0.99].map(quantile => [
      `histogram_quantile(${quantile}, sum by (le) (${rate("ipmasq_sync_duration_seconds_bucket")}))`,
      `${quantile * 100} %`,
    ]),
  },
  {
    title: "Drift repairs",
    description: "Syncs that repaired rules which another program had changed.",
    unit: "short",
    queries: [[increase("ipmasq_drift_repairs_total"), "{{instance}}"]],
  },
  {
    title: "Time since the last successful sync",
    description: "At most the resync interval while syncs succeed.",
    unit: "s",
    queries: [[`time() - ${of("ipmasq_sync_last_success_timestamp_seconds")}`, "{{instance}}"]],
  },
  {
    title: "Conntrack table usage",
    description: "A full table drops new connections.",
    unit: "percentunit",
    queries: [
      [`${of("ipmasq_conntrack_entries")} / ${of("ipmasq_conntrack_entries_limit")}`, "{{instance}}"],
    ],
  },
  {
    title: "Conntrack insert failures",
    description: "Dropped connections, usually because no source port was free.",
    unit: "cps",
    queries: [[rate("ipmasq_conntrack_insert_failed_total"), "{{instance}}"]],
  },
];

const AGENTS: Panel = {
  title: "Agents",
  description: "Version, backend and number of CIDRs by node.",
  queries: [[of("ipmasq_build_info")], [of("ipmasq_backend_info")], [of("ipmasq_config_cidrs")]],
};

/** The series of a metric, of the agents that are selected at the top of the dashboard. */
function of(metric: MetricName | "ipmasq_sync_duration_seconds_bucket"): string {
  return `${metric}{job=~"$job", instance=~"$instance"}`;
}

function rate(metric: Parameters<typeof of>[0]): string {
  return `rate(${of(metric)}[$__rate_interval])`;
}

function increase(metric: Parameters<typeof of>[0]): string {
  return `increase(${of(metric)}[$__rate_interval])`;
}

export function dashboard(): object {
  const graphsEnd = STAT.h + Math.ceil(GRAPHS.length / 2) * GRAPH.h;
  return {
    uid: "ip-masq-agent",
    title: "ip-masq-agent",
    tags: ["ip-masq-agent"],
    schemaVersion: 39,
    refresh: "1m",
    time: { from: "now-3h", to: "now" },
    templating: {
      list: [
        { name: "datasource", type: "datasource", query: "prometheus" },
        variable("job", "label_values(ipmasq_build_info, job)"),
        variable("instance", 'label_values(ipmasq_build_info{job=~"$job"}, instance)'),
      ],
    },
    panels: [
      ...STATS.map((it, index) => ({
        ...panel("stat", it, { ...STAT, x: index * STAT.w, y: 0 }),
        fieldConfig: { defaults: { thresholds: thresholds(it.bad) }, overrides: [] },
      })),
      ...GRAPHS.map((it, index) => ({
        ...panel("timeseries", it, {
          ...GRAPH,
          x: (index % 2) * GRAPH.w,
          y: STAT.h + Math.floor(index / 2) * GRAPH.h,
        }),
        fieldConfig: { defaults: { unit: it.unit, min: 0 }, overrides: [] },
      })),
      {
        ...panel("table", AGENTS, { w: 24, h: 8, x: 0, y: graphsEnd }),
        transformations: [
          { id: "joinByField", options: { byField: "instance", mode: "outer" } },
          { id: "filterFieldsByName", options: { include: { names: SHOWN } } },
          { id: "organize", options: { renameByName: { "Value #C": "CIDRs" } } },
        ],
      },
    ],
  };
}

const SHOWN = ["instance", "version", "commit", "backend", "writer", "Value #C"];

function panel(
  type: "stat" | "timeseries" | "table",
  { title, description, queries }: Panel,
  gridPos: object,
) {
  const instant = type !== "timeseries";
  const targets = queries.map(([expr, legend], index) => ({
    refId: "ABC"[index],
    datasource: DATASOURCE,
    expr,
    instant,
    range: !instant,
    format: type === "table" ? "table" : "time_series",
    ...(legend === undefined ? {} : { legendFormat: legend }),
  }));
  return { type, title, description, datasource: DATASOURCE, gridPos, targets };
}

function variable(name: string, query: string) {
  const every = { includeAll: true, multi: true, allValue: ".*", current: { text: "All", value: "$__all" } };
  return { name, type: "query", datasource: DATASOURCE, query, refresh: 2, sort: 1, ...every };
}

/** Green, and red from the value `bad` on. */
function thresholds(bad?: number) {
  const red = bad === undefined ? [] : [{ color: "red", value: bad }];
  return { mode: "absolute", steps: [{ color: "green", value: null }, ...red] };
}
