import { describe, expect, test } from "bun:test";
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { renderReport } from "../bench/report.ts";
import { ROWS } from "../scripts/dashboard.ts";
import { metricsPage } from "../scripts/metrics.ts";
import { PAGES_WITH_TABLES, withTable } from "../scripts/tables.ts";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import { verificationOf } from "./inspect/verifications.ts";
import { compatibility } from "./long/compatibility.ts";
import { blocksOf, codeOf } from "./pages/blocks.ts";
import { policy } from "./policies.ts";

const ROOT = join(import.meta.dir, "..");
const PAGES = [
  ...[
    "README.md",
    "README.zh-CN.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "bench/README.md",
    "container/README.md",
    "deploy/helm/ipmasq/README.md",
  ],
  ...new Bun.Glob("docs/*.md").scanSync(ROOT),
].sort();

test.each(Object.entries(jsonSchemas()))(
  "docs/%s.schema.json matches the code: npm run docs",
  async (name, schema) => {
    expect(await Bun.file(join(ROOT, `docs/${name}.schema.json`)).json()).toEqual(schema);
  },
);

test.each(PAGES_WITH_TABLES)("the generated table in %s matches the code: npm run docs", async name => {
  const text = await page(name);
  expect(text).toBe(withTable(name, text));
});

test("docs/metrics.md matches the metrics in the code: npm run docs", async () => {
  expect(await page("docs/metrics.md")).toBe(metricsPage());
});

test("docs/compatibility.md matches the stored results: npm run docs", async () => {
  expect(await page("docs/compatibility.md")).toBe(await compatibility());
});

test("bench/README.md matches the stored results: npm run docs", async () => {
  expect(await page("bench/README.md")).toBe(await renderReport());
});

test.each(PAGES)("links of %s lead to a file and a heading", async name => {
  const broken: string[] = [];
  for (const [, inText, inTag] of (await page(name)).matchAll(/\]\(([^)\s]+)\)|src(?:set)?="([^"]+)"/g)) {
    const link = inText ?? inTag ?? "";
    if (/^[a-z]+:/.test(link)) continue;
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? name : join(name, "..", path);
    const reachable = anchor === undefined ? await exists(target) : (await anchors(target)).includes(anchor);
    if (!reachable) broken.push(link);
  }
  expect(broken).toEqual([]);
});

test("the picture of the demo has its chapters, and that of the dashboard its panels: npm run pictures", async () => {
  const [demo, drawn, dashboard] = await Promise.all(
    ["scripts/demo/demo.ts", "docs/demo.svg", "docs/dashboard.svg"].map(page),
  );
  const chapters = Array.from(drawn?.matchAll(/=== ([^:<]+)/g) ?? [], ([, title = ""]) => title);
  expect(chapters.length).toBeGreaterThan(2);
  expect(chapters.filter(title => demo?.includes(title) !== true)).toEqual([]);
  const titles = ROWS.flatMap(row => [row.title, ...row.panels.map(panel => panel.title)]);
  expect(titles.filter(title => dashboard?.includes(`>${title}<`) !== true)).toEqual([]);
});

test("README.zh-CN.md has the commands, configs and outputs of README.md", async () => {
  const [chinese, english] = await Promise.all(["README.zh-CN.md", "README.md"].map(blocksOf));
  const codes = english?.map(codeOf);
  expect(chinese?.map(codeOf).filter(code => codes?.includes(code) !== true)).toEqual([]);
  expect(chinese?.length).toBeGreaterThan(5);
});

test.each(PAGES)("log lines quoted in %s exist in the source", async name => {
  const source = await sources();
  const unknown = (await page(name))
    .split("\n")
    .flatMap(line => /^ {4}(?:ERROR|WARN|INFO) +(.*)$/.exec(line)?.[1] ?? [])
    // The message ends at the first fact, as in `pid=1`; parts in parentheses, numbers and what follows a colon vary.
    .flatMap(line => (line.split(/ \w+=/)[0] ?? "").split(/ ?\([^)]*\)| \d\S*|: /))
    .map(text => text.trim())
    .filter(text => text !== "" && !source.includes(text));
  expect(unknown).toEqual([]);
});

describe("CONTRIBUTING.md", async () => {
  const contributing = await page("CONTRIBUTING.md");
  const sections = contributing.slice(0, contributing.indexOf("## Recipes")).split("\n### ").slice(1);
  const table = sections
    .join("\n")
    .split("\n")
    .filter(line => line.startsWith("| `"));
  const owned = table.flatMap(line => paths(line.split(" | ")[0] ?? ""));

  test("names existing files as owners and tests", async () => {
    const named = table.flatMap(line => line.split(" | ").flatMap((cell, i) => (i === 1 ? [] : paths(cell))));
    const existing = await Promise.all(named.map(exists));
    expect(named.filter((_, i) => !existing[i])).toEqual([]);
  });

  test("says what every source file owns", () => {
    const files = [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)];
    const isOwned = (file: string) =>
      owned.some(it => it === file || (it.endsWith("/") && file.startsWith(it)));
    expect(files.filter(file => !isOwned(file))).toEqual([]);
  });
});

// The other outputs are compared in test/kernel/pages.test.ts.
test("the proof that needs ipset is quoted in docs/verify.md as ipmasq prints it", async () => {
  const meant = policy({ keep: ["10.0.0.0/8"] });
  const lines = (await page("docs/verify.md")).split("\n").map(line => line.replace(/^ {4}/, ""));
  const start = lines.findIndex(line => line.startsWith("NOT PROVEN for"));
  expect(start).toBeGreaterThan(0);
  expect(verificationOf(meant, meant, UNCLEAR)).toEqual(lines.slice(start, lines.indexOf("", start)));
});

const UNCLEAR = `
  -A POSTROUTING -m set --match-set egress src -j MASQUERADE`;

function page(name: string): Promise<string> {
  return Bun.file(join(ROOT, name)).text();
}

async function sources(): Promise<string> {
  const files = [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)];
  return (await Promise.all(files.map(page))).join("\n");
}

/** The paths in a cell of the table in CONTRIBUTING.md. Names without a folder are in the folder of the path before. */
function paths(cell: string): string[] {
  let folder = "";
  return Array.from(cell.matchAll(/`([^`]+)`/g), ([, name = ""]) => name)
    .filter(name => !/ |^\./.test(name))
    .flatMap(name => {
      const [, before = "", names = "", after = ""] = /^(.*)\{(.*)\}(.*)$/.exec(name) ?? ["", name];
      return names.split(",").map(it => `${before}${it}${after}`);
    })
    .map(name => {
      const path = /^(?:src|lab|test|bench|scripts|container|deploy|docs)\//.test(name)
        ? name
        : join(folder, name);
      folder = path.endsWith("/") ? path : dirname(path);
      return path;
    });
}

async function exists(path: string): Promise<boolean> {
  return stat(join(ROOT, path)).then(
    () => true,
    () => false,
  );
}

/** The anchors of a page's headings, as forges make them. */
async function anchors(path: string): Promise<string[]> {
  if (!(await exists(path))) return [];
  return [...(await page(path)).matchAll(/^#+ (.*)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replace(/\s/g, "-"),
  );
}
