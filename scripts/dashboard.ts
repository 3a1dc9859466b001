/** The dashboard for Grafana: what `npm run manifests` writes to deploy/monitoring/dashboard.json. */

/** Of the agents that are chosen at the top of the dashboard. */
const CHOSEN = '{job=~"$job", instance=~"$instance"}';
const DATASOURCE = { type: "prometheus", uid: "$datasource" };
/** Of Grafana's grid, which is 24 wide. */
const [STAT, GRAPH] = [
  { w: 4, h: 4 },
  { w: 12, h: 8 },
];

/** A query, and what its results are called. */
type Query = readonly [expr: string, legend?: string];

interface Panel {
  readonly title: string;
  readonly description: string;
  readonly unit?: string;
  readonly queries: readonly Query[];
}

const STATS: readonly (Panel & { readonly bad?: number })[] = [
  { title: "Agents", description: "That are scraped.", queries: [[`count(ipmasq_build_info${CHOSEN})`]] },
  {
    title: "Out of sync",
    description: "Nodes whose kernel does not hold what the config says: ipmasq status.",
    bad: 1,
    queries: [[`sum(1 - ipmasq_kernel_in_sync${CHOSEN})`]],
  },
  {
    title: "Config wrong",
    description: "Nodes where an older config is in force, since this one is wrong: ipmasq check.",
    bad: 1,
    queries: [[`sum(1 - ipmasq_config_good${CHOSEN})`]],
  },
  {
    title: "Different configs",
    description: "One, if all nodes have the same.",
    bad: 2,
    queries: [[`count(count_values("hash", ipmasq_config_hash${CHOSEN}))`]],
  },
  {
    title: "Fighting",
    description: "Nodes where somebody changes our rules again and again: the log says who.",
    bad: 1,
    queries: [[`sum(ipmasq_fighting${CHOSEN})`]],
  },
  {
    title: "Competing rules",
    description: "Foreign rules that conflict with the policy: ipmasq status.",
    bad: 1,
    queries: [[`sum(ipmasq_competing_rules${CHOSEN})`]],
  },
];

const GRAPHS: readonly Panel[] = [
  {
    title: "New connections by verdict",
    description: "A NAT chain sees the first packet of each connection.",
    unit: "cps",
    queries: [
      [`sum by (verdict) (rate(ipmasq_connections_total${CHOSEN}[$__rate_interval]))`, "{{verdict}}"],
    ],
  },
  {
    title: "New connections by CIDR, the ten with most",
    description: "Of the CIDRs in the config.",
    unit: "cps",
    queries: [
      [
        `topk(10, sum by (cidr, verdict) (rate(ipmasq_cidr_connections_total${CHOSEN}[$__rate_interval])))`,
        "{{cidr}} {{verdict}}",
      ],
    ],
  },
  {
    title: "Syncs by trigger and result",
    description: "Unchanged ones write nothing.",
    unit: "short",
    queries: [
      [
        `sum by (trigger, result) (increase(ipmasq_syncs_total${CHOSEN}[$__rate_interval]))`,
        "{{trigger}}: {{result}}",
      ],
    ],
  },
  {
    title: "Duration of syncs",
    description: "Half of them, and all but one in a hundred, take no longer.",
    unit: "s",
    queries: [0.5, 0.99].map(quantile => [
      `histogram_quantile(${quantile}, sum by (le) (rate(ipmasq_sync_duration_seconds_bucket${CHOSEN}[$__rate_interval])))`,
      `${quantile * 100} %`,
    ]),
  },
  {
    title: "Repairs",
    description: "Syncs that found our rules changed by somebody.",
    unit: "short",
    queries: [[`increase(ipmasq_drift_repairs_total${CHOSEN}[$__rate_interval])`, "{{instance}}"]],
  },
  {
    title: "Time since the last sync that succeeded",
    description: "At most a resync interval, if all is well.",
    unit: "s",
    queries: [[`time() - ipmasq_last_success_timestamp_seconds${CHOSEN}`, "{{instance}}"]],
  },
  {
    title: "How full the table of connections is",
    description: "When it is full, new connections are dropped.",
    unit: "percentunit",
    queries: [[`ipmasq_conntrack_entries${CHOSEN} / ipmasq_conntrack_limit${CHOSEN}`, "{{instance}}"]],
  },
  {
    title: "Connections without a place",
    description: "Or without a free port, of the address that they are masqueraded to.",
    unit: "cps",
    queries: [[`rate(ipmasq_conntrack_insert_failed_total${CHOSEN}[$__rate_interval])`, "{{instance}}"]],
  },
];

const AGENTS: Panel = {
  title: "Agents",
  description: "What runs where.",
  queries: [[`ipmasq_build_info${CHOSEN}`], [`ipmasq_config_cidrs${CHOSEN}`]],
};

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
          { id: "organize", options: { renameByName: { "Value #B": "CIDRs" } } },
        ],
      },
    ],
  };
}

const SHOWN = ["instance", "version", "commit", "backend", "writer", "Value #B"];

function panel(
  type: "stat" | "timeseries" | "table",
  { title, description, queries }: Panel,
  gridPos: object,
) {
  const instant = type !== "timeseries";
  const targets = queries.map(([expr, legend], index) => ({
    refId: "AB"[index],
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

/** Red from a value on. */
function thresholds(bad?: number) {
  const red = bad === undefined ? [] : [{ color: "red", value: bad }];
  return { mode: "absolute", steps: [{ color: "green", value: null }, ...red] };
}
