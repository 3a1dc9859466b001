/** docs/metrics.md, from the table of metrics in the code. */
import type { Metric } from "../src/observe/metric.ts";
import { METRICS } from "../src/observe/metrics.ts";

const INTRODUCTION = `# Metrics

Use this list for your own queries and alerts. Ready-made alerts and a dashboard
are in [deploy/monitoring](install.md#prometheus-and-grafana).

    curl http://127.0.0.1:9469/metrics
`;

const NOTES = `
## Notes

- **Connections and bytes** are counted by the first packet of each connection,
  because a NAT chain sees only that packet. With more than 10,000 CIDRs the
  counters are as old as the last sync.
- **A CIDR that leaves the config** loses its series. Its connections stay in the
  sums by verdict.
- **\`ipmasq_conntrack_*\`** is missing if the kernel does not track connections.
  Connections dropped because the table was full are not insert failures; compare
  \`ipmasq_conntrack_entries\` with its limit.
- **Different configs**: \`count_values("hash", ipmasq_config_hash)\` counts the
  nodes by config.
`;

export function metricsPage(): string {
  const metrics: readonly Metric[] = METRICS;
  const rows = metrics.map(({ name, type, labels = {}, help }) => {
    const described = Object.entries(labels).map(([label, what]) => `\`${label}\`: ${what}`);
    return `| \`${name}\` | ${type} | ${described.join("; ")} | ${help} |\n`;
  });
  return `${INTRODUCTION}
| metric | type | labels | meaning |
|---|---|---|---|
${rows.join("")}${NOTES}`;
}
