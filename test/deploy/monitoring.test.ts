import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { parse } from "yaml";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { output } from "../../lab/output.ts";
import { dashboard } from "../../scripts/dashboard.ts";
import { dashboardText, prometheusRule } from "../../scripts/manifests.ts";
import { type Chroot, debianChroot } from "../debian/chroot.ts";
import { commandOf } from "../debian/tools.ts";
import { absent } from "../programs.ts";

const FOLDER = join(import.meta.dir, "../../deploy");
const RULES = join(FOLDER, "monitoring/rules.yaml");
const CASES = join(FOLDER, "monitoring/rules.test.yaml");

const Rules = v.object({
  groups: v.array(
    v.object({
      rules: v.array(
        v.object({
          alert: v.string(),
          expr: v.string(),
          annotations: v.object({ runbook_url: v.string() }),
        }),
      ),
    }),
  ),
});
const Cases = v.object({
  tests: v.array(
    v.object({
      alert_rule_test: v.array(
        v.object({ alertname: v.string(), exp_alerts: v.optional(v.array(v.unknown()), []) }),
      ),
    }),
  ),
});
const Dashboard = v.object({
  panels: v.array(
    v.object({
      title: v.string(),
      gridPos: v.object({ w: v.number(), h: v.number(), x: v.number(), y: v.number() }),
      // Headings of rows have none.
      targets: v.optional(v.array(v.object({ expr: v.string() })), []),
    }),
  ),
});
const Answer = v.object({
  status: v.literal("success"),
  data: v.object({
    result: v.array(
      v.object({ metric: v.record(v.string(), v.string()), value: v.tuple([v.number(), v.string()]) }),
    ),
  }),
});

const alerts = v.parse(Rules, parse(await Bun.file(RULES).text())).groups.flatMap(({ rules }) => rules);
const { panels } = v.parse(Dashboard, dashboard());
const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const));

test("generated files are up to date: npm run manifests", async () => {
  const kept = (path: string) => Bun.file(join(FOLDER, path)).text();
  expect(await kept("kubernetes/components/alerts/prometheus-rule.yaml")).toBe(await prometheusRule());
  expect(await kept("monitoring/dashboard.json")).toBe(dashboardText());
});

test("no panels of the dashboard overlap", () => {
  const cells = panels.flatMap(({ gridPos: { w, h, x, y } }) =>
    Array.from({ length: w * h }, (_, i) => `${x + (i % w)} ${y + Math.floor(i / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  expect(Math.max(...panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24);
});

test("the runbook of each alert is a heading of docs/troubleshooting.md", async () => {
  const page = await Bun.file(join(FOLDER, "../docs/troubleshooting.md")).text();
  const headings = Array.from(page.matchAll(/^### (\w+)$/gm), ([, name = ""]) => name.toLowerCase());
  const runbooks = alerts.map(it => it.annotations.runbook_url.split("docs/troubleshooting.md#")[1]);
  expect(runbooks).toEqual(alerts.map(({ alert }) => alert.toLowerCase()));
  expect(runbooks.filter(it => !headings.includes(it ?? ""))).toEqual([]);
});

test("each alert has a case where it fires and one where it does not", async () => {
  const cases = v.parse(Cases, parse(await Bun.file(CASES).text()));
  const tried = cases.tests.flatMap(it => it.alert_rule_test);
  const of = (fires: boolean) =>
    new Set(tried.filter(it => it.exp_alerts.length > 0 === fires).map(it => it.alertname));
  const names = new Set(alerts.map(({ alert }) => alert));
  expect(of(true)).toEqual(names);
  expect(of(false)).toEqual(names);
});

const prometheus = await debianChroot("promtool");
if ("missing" in prometheus) absent(prometheus.missing);
else describe("Prometheus", () => scrapes(prometheus));

function scrapes({ root }: Chroot): void {
  let started: Bun.Subprocess<"ignore", "ignore", "pipe">[] = [];
  let folder: string;
  const program = (name: string) => commandOf(root, join("usr/bin", name));
  const start = async (argv: readonly string[], serving: string) => {
    const it = Bun.spawn([...argv], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
    started.push(it);
    await new Lines(it.stderr).until(serving);
  };
  const ask = async (query: string) => {
    const asked = await fetch(`http://127.0.0.1:9090/api/v1/query?${new URLSearchParams({ query })}`);
    return v.parse(Answer, await asked.json()).data.result;
  };

  /**
   * Starts the agent, and Prometheus, and waits for three scrapes. Prometheus starts to scrape after 5 s.
   */
  beforeAll(async () => {
    folder = await mkdtemp("/run/prometheus-");
    await start([BINARY, "--config=/run/none", "--listen=127.0.0.1:9469"], "serving metrics");
    const config = {
      global: { scrape_interval: "100ms" },
      rule_files: [RULES],
      scrape_configs: [
        {
          job_name: "ip-masq-agent",
          static_configs: [{ targets: ["127.0.0.1:9469"], labels: { node: "a" } }],
        },
      ],
    };
    await Bun.write(join(folder, "prometheus.yml"), JSON.stringify(config));
    const flags = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
    await start([...(await program("prometheus")), ...flags, "--web.listen-address=127.0.0.1:9090"], "ready");
    const count = async () => Number((await ask("count_over_time(up[1m])"))[0]?.value[1] ?? 0);
    while ((await count()) < 3) await Bun.sleep(50);
  }, 30_000);
  afterAll(async () => {
    for (const it of started.reverse()) {
      it.kill("SIGKILL");
      await it.exited;
    }
    await output([BINARY, "cleanup"]);
    await rm(folder, { recursive: true });
    started = [];
  });

  test("accepts the rules, and their tests pass", async () => {
    const promtool = await program("promtool");
    expect(await output([...promtool, "check", "rules", RULES])).toContain(`${alerts.length} rules found`);
    expect(await output([...promtool, "test", "rules", CASES])).toContain("SUCCESS");
  });

  test("fires no alert for a healthy agent", async () => {
    for (const { expr } of alerts) expect(await ask(expr)).toEqual([]);
  });

  test.each(alerts.map(({ alert, expr }) => [alert, expr] as const))(
    "%s uses existing metrics",
    async (_, expr) => {
      for (const [metric] of expr.matchAll(/\b(ipmasq_\w+|up)\b/g)) expect(await ask(metric)).not.toEqual([]);
    },
  );

  test.each(queries)("the dashboard's panel %s has data", async (_, expr) => {
    const asked = expr
      .replaceAll("$cluster", ".*")
      .replaceAll("$job", "ip-masq-agent")
      .replaceAll("$instance", ".*")
      .replaceAll("$__rate_interval", "1m");
    expect(await ask(asked)).not.toEqual([]);
    const metrics = [...expr.matchAll(/\b(?:ipmasq|process)_\w+/g)].map(([metric]) => metric);
    const known = await Promise.all(metrics.map(ask));
    const labels = new Set(known.flat().flatMap(({ metric }) => Object.keys(metric)));
    for (const [, grouping = ""] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
      for (const label of grouping.split(/, /)) expect([...labels]).toContain(label);
    }
  });
}
