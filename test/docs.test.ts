import { describe, expect, test } from "bun:test";
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { renderReport } from "../bench/report.ts";
import { metricsPage } from "../scripts/metrics.ts";
import { PAGES_WITH_TABLES, withTable } from "../scripts/tables.ts";
import type { Conflict } from "../src/conflicts/conflict.ts";
import { ownerOf } from "../src/conflicts/owners.ts";
import { jsonSchemas } from "../src/inspect/json-schema.ts";
import type { Status } from "../src/inspect/status.ts";
import { statusText } from "../src/inspect/status-text.ts";
import { ipmasq } from "./binary.ts";
import { Folder } from "./config/folder.ts";
import { verificationOf } from "./inspect/verifications.ts";
import { compatibility } from "./long/compatibility.ts";
import { policy } from "./policies.ts";

const ROOT = join(import.meta.dir, "..");
const PAGES = [
  ...[
    "README.md",
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

describe("outputs quoted in the pages are what the binary prints", async () => {
  const tests = block(await page("docs/test.md"), "config: config.yaml");
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
      "docs/enforce.md",
      "ipmasq explain 10.42.1.2 10.100.7.8",
      {
        "ip-masq-agent":
          "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nsourceCIDRs:\n  - 10.42.0.0/16\nenforceNonMasquerade: true\n",
      },
    ],
    [
      "docs/test.md",
      "ipmasq test tests.yaml",
      {
        "config.yaml":
          "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nmasqueradeCIDRs:\n  - 10.99.0.0/16\nsourceCIDRs:\n  - 10.244.0.0/16\n",
        "tests.yaml": tests,
      },
    ],
    [
      "docs/test.md",
      "ipmasq test typos.yaml",
      {
        "typos.yaml":
          "config: config.yaml\ntests:\n  - destination: 10.99.0.1\n    verdict: keeps\n  - adress: 10.20.30.40\n    verdict: keep\n",
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

describe("statuses and proofs quoted in the pages are what ipmasq prints", () => {
  const conflict = {
    tool: "iptables-nft" as const,
    family: "ip" as const,
    table: "nat",
    priority: 100,
    runs: "before ipmasq" as const,
    certain: true,
    harmless: false,
  };
  const flannel: Conflict = {
    ...conflict,
    ...ownerOf(["FLANNEL-POSTRTG"]),
    chain: "FLANNEL-POSTRTG",
    rule: "-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
    exposes: ["169.254.0.0/16", "10.0.0.0/8"],
    sources: ["10.244.0.0/16"],
    remedy: `${ownerOf(["FLANNEL-POSTRTG"]).remedy}; or set enforceNonMasquerade: true`,
  };
  const k3s: Conflict = {
    ...flannel,
    rule: flannel.rule.replace("10.244", "10.42"),
    sources: ["10.42.0.0/16"],
  };
  const upstream: Conflict = {
    ...conflict,
    ...ownerOf(["IP-MASQ"]),
    chain: "IP-MASQ",
    rule: "-A IP-MASQ -j MASQUERADE",
    exposes: ["169.254.0.0/16", "203.0.113.0/24"],
  };
  const harmless: readonly Conflict[] = [
    { ...conflict, owner: "kube-proxy or kubelet" },
    { ...conflict, owner: "tailscale", only: "packets with mark 0x40000/0xff0000" },
  ].map(it => ({ ...it, chain: "", rule: "", exposes: [], remedy: "", harmless: true }));
  const status: Status = {
    from: "agent",
    version: "0.1.0",
    backend: "nftables",
    writer: "nft",
    reason: "nft 1.1.3 is installed and the kernel accepts the ruleset",
    inSync: true,
    since: "2026-11-25T03:04:05.678Z",
    config: "/etc/config/ip-masq-agent",
    kernel: "has all CIDRs of the agent",
    policy: { chain: "IP-MASQ-AGENT", families: ["ip"], randomFully: true },
    cidrs: [
      { cidr: "169.254.0.0/16", family: "ip", verdict: "keep", origin: { default: true }, ...count(0) },
      {
        cidr: "10.0.0.0/8",
        family: "ip",
        verdict: "keep",
        origin: { file: "/etc/config/ip-masq-agent", line: 2, column: 5 },
        ...count(3120),
      },
    ],
    outbound: [{ family: "ip", ...count(964) }],
    conntrack: { entries: 1532, limit: 262_144, insertFailed: 0 },
    conflicts: [],
    problems: [],
  };
  test.each<[name: string, first: string, conflicts: readonly Conflict[]]>([
    ["README.md", "in sync since 2026-11-25 03:04:05 UTC", []],
    ["docs/troubleshooting.md", "conflicts", [flannel, ...harmless]],
    ["docs/enforce.md", "conflicts", [k3s]],
    ["docs/troubleshooting.md", "…", [upstream]],
  ])("%s: %s", async (name, first, conflicts) => {
    const blocks = (await page(name)).match(/(?:^ {4}.*\n|\n(?= {4}))+/gm) ?? [];
    const printed = statusText({ ...status, conflicts: [...conflicts] });
    const quotes = blocks
      .map(block =>
        block
          .trimEnd()
          .split("\n")
          .map(line => line.slice(4)),
      )
      .map(lines => lines.slice(lines.indexOf(first)))
      .filter(lines => lines[0] === first)
      .map(lines => missing(lines, printed));
    expect(quotes).toContainEqual([]);
  });

  test.each<[name: string, first: RegExp, foreign: string, keep: readonly string[]]>([
    ["README.md", /^proven for all/, "", []],
    ["docs/verify.md", /^proven for all/, KUBE_PROXY, []],
    ["docs/verify.md", /^DIFFERS from the policy/, `${KUBE_PROXY}${FLANNEL}`, []],
    ["docs/verify.md", /^NOT PROVEN for/, UNCLEAR, []],
  ])("%s: %s", async (name, first, foreign, keep) => {
    const meant = policy({ keep: ["10.0.0.0/8", ...keep] });
    const lines = (await page(name)).split("\n").map(line => line.replace(/^ {4}/, ""));
    const start = lines.findIndex(line => first.test(line));
    const end = lines.indexOf("", start);
    expect(start).toBeGreaterThan(0);
    expect(verificationOf(meant, meant, foreign)).toEqual(lines.slice(start, end));
  });

  function count(connections: number) {
    return { connections, bytes: 60 * connections };
  }
});

const KUBE_PROXY = `
  -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
  -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
  -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
  -A KUBE-POSTROUTING -j MASQUERADE --random-fully`;
const FLANNEL = `
  -A POSTROUTING -j FLANNEL-POSTRTG
  -A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
  -A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully`;
const UNCLEAR = `
  -A POSTROUTING -m set --match-set egress src -j MASQUERADE`;

/** A config whose change the README shows. */
function reviewed(cidr: string): string {
  return `nonMasqueradeCIDRs: [10.0.0.0/8, ${cidr}]\nsourceCIDRs: [10.244.0.0/16]\noutputInterfaces: [eth0, wg*]\n`;
}

/** The code block that starts with a line. */
function block(text: string, first: string): string {
  const lines = text.split("\n");
  const below = lines.slice(lines.indexOf(`    ${first}`));
  const end = below.findIndex(line => line !== "" && !line.startsWith("    "));
  return below
    .slice(0, end)
    .map(line => line.slice(4))
    .join("\n");
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
