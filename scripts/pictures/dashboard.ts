/**
 * `npm run pictures`: runs the agent in a lab for two and a half minutes, with connections, a changed config, a flush and
 * flannel's rules. Draws the panels of the Grafana dashboard from Prometheus' answers as docs/dashboard.svg, and the
 * status page while flannel overrules the policy as docs/page-*.png.
 */
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { Lines } from "../../lab/lines.ts";
import { save } from "../../lab/save.ts";
import { debianChroot } from "../../test/debian/chroot.ts";
import { commandOf, debianTools } from "../../test/debian/tools.ts";
import { ROWS } from "../dashboard.ts";
import { FLANNEL } from "../demo/flannel.ts";
import { board, type Series } from "./board.ts";
import { drawPage } from "./page.ts";

const ROOT = join(import.meta.dir, "../..");
const SECONDS = 150;
const KEEP = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 192.168.0.0/16\n";
/** Events, by the second. */
const EVENTS: Readonly<Record<number, (lab: Lab, config: string) => Promise<unknown>>> = {
  25: (_, config) => save(config, `${KEEP}  - 203.0.113.0/24\n`),
  40: lab => lab.node.output(["nft", "flush", "ruleset"]),
  50: lab => lab.node.output(["iptables-restore", "--noflush"], { input: FLANNEL }),
  85: lab => drawPage(lab, join(ROOT, "docs")),
  90: (_, config) => save(config, `${KEEP}  - 203.0.113.0/24\nenforceNonMasquerade: true\n`),
};
const DESTINATIONS = ["10.1.2.3", "10.1.2.4", "10.20.30.40", "192.168.7.8", "203.0.113.7", "198.51.100.80"];

const Answer = v.object({
  data: v.object({
    result: v.array(
      v.object({
        metric: v.record(v.string(), v.string()),
        values: v.array(v.tuple([v.number(), v.string()])),
      }),
    ),
  }),
});

const prometheus = await debianChroot("promtool");
if ("missing" in prometheus) throw new Error(prometheus.missing);
const nft = await debianTools("trixie");
if ("missing" in nft) throw new Error(nft.missing);
await using lab = await Lab.create();
const folder = await mkdtemp("/run/dashboard-");
const config = join(folder, "ip-masq-agent");
await save(config, KEEP);
const flags = [
  `--config=${config}`,
  "--listen=127.0.0.1:9469",
  "--resync-interval=10s",
  "--node-name=node-1",
];
const path = `PATH=${nft.wrapper}:${process.env.PATH}`;
const agent = RunningAgent.start(lab.node, flags, ["env", path, BINARY]);
await agent.log.until("rules applied");
await startPrometheus(await commandOf(prometheus.root, "usr/bin/prometheus"));
const began = Date.now() / 1000;
for (let second = 0; second < SECONDS; second++) {
  await EVENTS[second]?.(lab, config);
  const busy = 1 + (second % 7);
  const all = DESTINATIONS.flatMap((to, i) => Array.from({ length: busy * (i + 1) }, () => to));
  await Promise.all([Bun.sleep(1000), ...all.map(to => lab.connect({ protocol: "udp", to }))]);
}
await Bun.write(join(ROOT, "docs/dashboard.svg"), board(ROWS, await answers()));
await agent.end();
// The browser would stay.
process.exit();

async function startPrometheus(argv: readonly string[]): Promise<void> {
  const scraped = {
    job_name: "ip-masq-agent",
    static_configs: [{ targets: ["127.0.0.1:9469"], labels: { instance: "node-1", cluster: "lab" } }],
  };
  const file = join(folder, "prometheus.yml");
  await Bun.write(file, JSON.stringify({ global: { scrape_interval: "1s" }, scrape_configs: [scraped] }));
  const flags = [
    `--config.file=${file}`,
    `--storage.tsdb.path=${folder}/data`,
    "--web.listen-address=127.0.0.1:9090",
  ];
  const started = lab.node.spawn([...argv, ...flags], { stderr: "pipe", stdout: "ignore" });
  await new Lines(started.stderr).until("ready");
  // Prometheus starts to scrape after 5 s.
  await Bun.sleep(8000);
}

/** The results of all queries of the dashboard, by expression. */
async function answers(): Promise<ReadonlyMap<string, readonly Series[]>> {
  const found = new Map<string, Series[]>();
  const queries = ROWS.flatMap(row => row.panels.flatMap(panel => panel.queries));
  for (const [expr, legend = ""] of queries) {
    const query = expr.replaceAll(/\$(?:cluster|job|instance)/g, ".*").replaceAll("$__rate_interval", "5s");
    const range = { query, start: `${began}`, end: `${Date.now() / 1000}`, step: "1" };
    const url = `http://127.0.0.1:9090/api/v1/query_range?${new URLSearchParams(range)}`;
    const script = "process.stdout.write(await (await fetch(process.argv.at(-1))).text())";
    const text = await lab.node.output([process.execPath, "--eval", script, url]);
    const { result } = v.parse(Answer, JSON.parse(text)).data;
    const named = result.map(({ metric, values }) => ({
      name: legend.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => metric[label] ?? ""),
      labels: metric,
      points: values.map(([at, value]) => ({ at: at - began, value: Number(value) })),
    }));
    found.set(expr, named);
  }
  return found;
}
