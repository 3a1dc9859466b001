/** The Grafana dashboard: `npm run manifests` writes it to deploy/monitoring/dashboard.json. */
import type { MetricName } from "../src/observe/metrics.ts";

const DATASOURCE = { type: "prometheus", uid: "$datasource" };
/** Sizes of panels in Grafana's grid, which is 24 wide. */
const SIZES = {
  stat: { w: 4, h: 4 },
  timeseries: { w: 8, h: 7 },
  table: { w: 24, h: 7 },
} as const;
const WIDTH = 24;

/** An expression and the legend of its results. */
type Query = readonly [expr: string, legend?: string];

export interface Panel {
  readonly type: keyof typeof SIZES;
  readonly title: string;
  readonly description: string;
  readonly unit?: string;
  readonly queries: readonly Query[];
  /** A stat is red from this value on. */
  readonly bad?: number;
}

/** A question, and the panels that answer it. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export const ROWS: readonly Row[] = [
  {
    title: "Are the rules in force?",
    panels: [
      stat("Agents", "Agents that Prometheus scrapes.", `count(${of("ipmasq_build_info")})`),
      stat(
        "Out of sync",
        "Nodes whose rules do not match the config. For the reason: ipmasq status.",
        `sum(1 - ${of("ipmasq_kernel_in_sync")})`,
        1,
      ),
      stat(
        "Config rejected",
        "Nodes that keep the last good policy because the config is invalid. To see why: ipmasq check.",
        `sum(1 - ${of("ipmasq_config_last_reload_successful")})`,
        1,
      ),
      stat(
        "Different configs",
        "The number of different configs; 1 if all nodes have the same.",
        `count(count_values("hash", ${of("ipmasq_config_hash")}))`,
        2,
      ),
      stat(
        "Fallback",
        "Nodes whose preferred backend fails, so that another one writes the rules. For the reason: ipmasq status.",
        `sum(${of("ipmasq_fallback")})`,
        1,
      ),
      stat(
        "Contested",
        "Nodes where another program keeps changing ipmasq's rules. The agent's log names it.",
        `sum(${of("ipmasq_rules_contested")})`,
        1,
      ),
    ],
  },
  {
    title: "Does something change the rules?",
    panels: [
      graph("Drift repairs", "Syncs that repaired rules which another program had changed.", "short", [
        increase("ipmasq_drift_repairs_total"),
        "{{instance}}",
      ]),
      graph("Syncs by trigger and result", "Unchanged syncs write nothing.", "short", [
        `sum by (trigger, result) (${increase("ipmasq_syncs_total")})`,
        "{{trigger}}: {{result}}",
      ]),
      graph("Time since the last successful sync", "At most the resync interval while syncs succeed.", "s", [
        `time() - ${of("ipmasq_sync_last_success_timestamp_seconds")}`,
        "{{instance}}",
      ]),
    ],
  },
  {
    title: "Do other programs overrule the policy?",
    panels: [
      graph(
        "Conflicts",
        "Foreign NAT rules that conflict with the policy. To list them: ipmasq status.",
        "short",
        [of("ipmasq_conflicts"), "{{instance}}"],
      ),
      graph(
        "Defeated rules",
        "Foreign NAT rules that enforceNonMasquerade prevents from masquerading kept connections.",
        "short",
        [of("ipmasq_conflicts_defeated"), "{{instance}}"],
      ),
      graph(
        "Leaks dropped",
        "Packets that would have left with a Pod's address although the policy masquerades them. Needs dropLeaks.",
        "pps",
        [rate("ipmasq_leaks_dropped_total"), "{{instance}}"],
      ),
    ],
  },
  {
    title: "Which connections leave the nodes?",
    panels: [
      graph(
        "New connections by verdict",
        "Connections that leave the nodes, counted by their first packet.",
        "cps",
        [`sum by (verdict) (${rate("ipmasq_connections_total")})`, "{{verdict}}"],
      ),
      graph(
        "New connections by CIDR, top 10",
        "The CIDRs of the policy that match most new connections.",
        "cps",
        [
          `topk(10, sum by (cidr, verdict) (${rate("ipmasq_cidr_connections_total")}))`,
          "{{cidr}} {{verdict}}",
        ],
      ),
      graph(
        "First bytes by verdict",
        "Bytes of the first packets of new connections. Later packets do not pass a NAT chain.",
        "Bps",
        [`sum by (verdict) (${rate("ipmasq_bytes_total")})`, "{{verdict}}"],
      ),
    ],
  },
  {
    title: "Do more connections fit?",
    panels: [
      graph("Conntrack table usage", "A full table drops new connections.", "percentunit", [
        `${of("ipmasq_conntrack_entries")} / ${of("ipmasq_conntrack_entries_limit")}`,
        "{{instance}}",
      ]),
      graph("Conntrack entries", "Connections in the conntrack table of each node.", "short", [
        of("ipmasq_conntrack_entries"),
        "{{instance}}",
      ]),
      graph(
        "Conntrack insert failures",
        "Dropped connections, usually because no source port was free.",
        "cps",
        [rate("ipmasq_conntrack_insert_failed_total"), "{{instance}}"],
      ),
    ],
  },
  {
    title: "What do the agents cost?",
    panels: [
      graph(
        "CPU of the agents",
        "CPU time of the agents' processes, without the programs that they start. 1 is a core.",
        "percentunit",
        [rate("process_cpu_seconds_total"), "{{instance}}"],
      ),
      graph("Resident memory", "Resident memory of the agents' processes.", "bytes", [
        of("process_resident_memory_bytes"),
        "{{instance}}",
      ]),
      graph(
        "Sync duration",
        "Median and 99th percentile.",
        "s",
        ...[0.5, 0.99].map(
          (quantile): Query => [
            `histogram_quantile(${quantile}, sum by (le) (${rate("ipmasq_sync_duration_seconds_bucket")}))`,
            `${quantile * 100} %`,
          ],
        ),
      ),
      {
        type: "table",
        title: "Agents by node",
        description: "Version, backend and number of CIDRs by node.",
        queries: [[of("ipmasq_build_info")], [of("ipmasq_backend_info")], [of("ipmasq_config_cidrs")]],
      },
    ],
  },
];

function stat(title: string, description: string, expr: string, bad?: number): Panel {
  return { type: "stat", title, description, queries: [[expr]], ...(bad === undefined ? {} : { bad }) };
}

function graph(title: string, description: string, unit: string, ...queries: readonly Query[]): Panel {
  return { type: "timeseries", title, description, unit, queries };
}

/** The series of a metric, of the agents that are selected at the top of the dashboard. */
function of(metric: MetricName | "ipmasq_sync_duration_seconds_bucket"): string {
  return `${metric}{cluster=~"$cluster", job=~"$job", instance=~"$instance"}`;
}

function rate(metric: Parameters<typeof of>[0]): string {
  return `rate(${of(metric)}[$__rate_interval])`;
}

function increase(metric: Parameters<typeof of>[0]): string {
  return `increase(${of(metric)}[$__rate_interval])`;
}

export function dashboard(): object {
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
        variable("cluster", "Cluster", "label_values(ipmasq_build_info, cluster)"),
        variable("job", "Job", 'label_values(ipmasq_build_info{cluster=~"$cluster"}, job)'),
        variable(
          "instance",
          "Node",
          'label_values(ipmasq_build_info{cluster=~"$cluster", job=~"$job"}, instance)',
        ),
      ],
    },
    panels: panels(),
  };
}

/** The rows, one below the other, with their panels from left to right. */
function panels(): object[] {
  let y = 0;
  return ROWS.flatMap(row => {
    const heading = { type: "row", title: row.title, collapsed: false, gridPos: { w: WIDTH, h: 1, x: 0, y } };
    y += 1;
    let x = 0;
    const placed = row.panels.map(it => {
      const { w, h } = SIZES[it.type];
      if (x + w > WIDTH) {
        x = 0;
        y += SIZES.timeseries.h;
      }
      x += w;
      return panel(it, { w, h, x: x - w, y });
    });
    y += SIZES[row.panels.at(-1)?.type ?? "stat"].h;
    return [heading, ...placed];
  });
}

/** One line for each node, from the results of three queries. */
const BY_NODE = [
  { id: "joinByField", options: { byField: "instance", mode: "outer" } },
  {
    id: "filterFieldsByName",
    options: { include: { names: ["instance", "version", "commit", "backend", "writer", "Value #C"] } },
  },
  { id: "organize", options: { renameByName: { instance: "node", "Value #C": "CIDRs" } } },
];

function panel({ type, title, description, unit, bad, queries }: Panel, gridPos: object): object {
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
  const defaults = { stat: { thresholds: thresholds(bad) }, timeseries: { unit, min: 0 }, table: {} }[type];
  return {
    ...{ type, title, description, datasource: DATASOURCE, gridPos, targets },
    ...(type === "table" ? { transformations: BY_NODE } : { fieldConfig: { defaults, overrides: [] } }),
  };
}

function variable(name: string, label: string, query: string) {
  const every = { includeAll: true, multi: true, allValue: ".*", current: { text: "All", value: "$__all" } };
  return { name, label, type: "query", datasource: DATASOURCE, query, refresh: 2, sort: 1, ...every };
}

/** Green, and red from the value `bad` on. */
function thresholds(bad?: number) {
  const red = bad === undefined ? [] : [{ color: "red", value: bad }];
  return { mode: "absolute", steps: [{ color: "green", value: null }, ...red] };
}
