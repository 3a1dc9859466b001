import { describe, expect, test } from "bun:test";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { metricsPage } from "../scripts/metrics.ts";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import { ipmasq } from "./binary.ts";
import { Folder } from "./config/folder.ts";
import { compatibility } from "./long/compatibility.ts";

const ROOT = join(import.meta.dir, "..");
const PAGES = [
  ...[
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "bench/README.md",
    "container/README.md",
  ],
  ...new Bun.Glob("docs/*.md").scanSync(ROOT),
].sort();

test.each(Object.entries(jsonSchemas()))(
  "docs/%s.schema.json matches the code: npm run docs",
  async (name, schema) => {
    expect(await Bun.file(join(ROOT, `docs/${name}.schema.json`)).json()).toEqual(schema);
  },
);

test("docs/metrics.md matches the metrics in the code: npm run docs", async () => {
  expect(await page("docs/metrics.md")).toBe(metricsPage());
});

test("docs/compatibility.md matches the stored results: npm run docs", async () => {
  expect(await page("docs/compatibility.md")).toBe(await compatibility());
});

test.each(PAGES)("links of %s lead to a file and a heading", async name => {
  const broken: string[] = [];
  for (const [, link = ""] of (await page(name)).matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(link)) continue;
    const [path = "", anchor] = link.split("#");
    const target = path === "" ? name : join(name, "..", path);
    const reachable = anchor === undefined ? await exists(target) : (await anchors(target)).includes(anchor);
    if (!reachable) broken.push(link);
  }
  expect(broken).toEqual([]);
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

describe("outputs quoted in the pages are what the binary prints", () => {
  const kept = { "ip-masq-agent": "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 10.1.0.0/16\n" };
  test.each<[name: string, command: string, files: Readonly<Record<string, string>>]>([
    ["README.md", "ipmasq explain 10.244.1.2 10.1.2.3", kept],
    [
      "README.md",
      "ipmasq diff --from=old.yaml --to=new.yaml",
      { "old.yaml": reviewed("192.0.2.0/24"), "new.yaml": reviewed("198.18.0.0/15") },
    ],
    [
      "docs/check.md",
      "ipmasq check --config=config.yaml",
      {
        "config.yaml":
          "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 10.0.0.1/8\nmasqLinkLocal: false\nresyncIntervall: 5s\n",
      },
    ],
    [
      "docs/troubleshooting.md",
      "ipmasq explain 10.244.1.2 203.0.113.7",
      { "ip-masq-agent": "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 203.0.113.0/24\n" },
    ],
  ])("%s: %s", async (name, command, files) => {
    await using folder = await Folder.create(files);
    const path = "/etc/config/ip-masq-agent";
    const place = (text: string) => text.replaceAll(`${folder.path}/ip-masq-agent`, path);
    const [, ...argv] = command.split(" ").map(word => word.replace(/(\w+\.yaml)$/, `${folder.path}/$1`));
    const config = "ip-masq-agent" in files ? [`--config=${folder.path}/ip-masq-agent`] : [];
    const { stdout, stderr } = await ipmasq([...argv, ...config]);
    const printed = place(stdout + stderr)
      .replaceAll(`${folder.path}/`, "")
      .split("\n");
    expect(missing(quoted(await page(name), `$ ${command}`), printed)).toEqual([]);
  });
});

/** A config whose change the README shows. */
function reviewed(cidr: string): string {
  return `nonMasqueradeCIDRs: [10.0.0.0/8, ${cidr}]\nsourceCIDRs: [10.244.0.0/16]\noutputInterfaces: [eth0, wg*]\n`;
}

/** The lines of a code block below a command. */
function quoted(text: string, command: string): string[] {
  const lines = text.split("\n");
  const start = lines.indexOf(`    ${command}`);
  const below = lines.slice(start + 1);
  const end = below.findIndex(line => !line.startsWith("    "));
  if (start < 0 || end < 1) throw new Error(`${command} is not in the page`);
  return below.slice(0, end).map(line => line.slice(4));
}

/** Quoted lines that are not printed in that order; an ellipsis stands for lines that the page leaves out. */
function missing(lines: readonly string[], printed: readonly string[]): string[] {
  let next = 0;
  return lines.filter(line => {
    if (line === "…") return false;
    const found = printed.indexOf(line, next);
    if (found >= 0) next = found + 1;
    return found < 0;
  });
}

function page(name: string): Promise<string> {
  return Bun.file(join(ROOT, name)).text();
}

async function sources(): Promise<string> {
  const files = [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)];
  return (await Promise.all(files.map(page))).join("\n");
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
