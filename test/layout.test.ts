import { expect, test } from "bun:test";
import { join, relative } from "node:path";
import { BACKENDS } from "../src/backends/backends.ts";
import { AGENT_FLAGS } from "../src/cli/flags.ts";

const SRC = join(import.meta.dir, "../src");

/** From top to bottom: a file imports only from its own layer and from lower ones. */
const LAYERS = [
  "main.ts",
  "cli",
  "agent",
  "observe",
  "inspect",
  "proof",
  "conflicts",
  "backends",
  "xtables",
  "nft",
  "conntrack",
  "policy",
  "config",
  "net",
  "system",
];

test("imports run downwards only", async () => {
  const upward: string[] = [];
  for await (const { file, target } of imports("**/*.ts")) {
    if (layer(target) < layer(file)) upward.push(`${file} imports ${target}`);
  }
  expect(upward).toEqual([]);
});

test("files have at most 250 lines, and src/config at most 14 files", async () => {
  const long: string[] = [];
  for await (const file of new Bun.Glob("**/*.ts").scan(SRC)) {
    const lines = (await Bun.file(join(SRC, file)).text()).split("\n").length - 1;
    if (lines > 250) long.push(`${file}: ${lines}`);
  }
  expect(long).toEqual([]);
  expect([...new Bun.Glob("config/*.ts").scanSync(SRC)].length).toBeLessThanOrEqual(14);
});

test("files do not import each other in circles", async () => {
  const targets = new Map<string, string[]>();
  for await (const { file, target } of imports("**/*.ts")) {
    targets.set(file, [...(targets.get(file) ?? []), target]);
  }
  expect(circles(targets)).toEqual([]);
});

test.each([
  [{ a: ["b"], b: ["c"] }, []],
  [{ a: ["b"], b: ["a", "c"] }, ["a imports b imports a"]],
  [{ a: ["b"], b: ["c"], c: ["b"], d: ["a"] }, ["b imports c imports b"]],
])("the circles in %j are %j", (targets, expected) => {
  expect(circles(new Map(Object.entries(targets)))).toEqual(expected);
});

/** Circles of imports, at least one for each group of files that import each other. */
function circles(targets: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = [];
  const visited = new Set<string>();
  const visit = (file: string, way: readonly string[]) => {
    if (way.includes(file)) found.push([...way.slice(way.indexOf(file)), file].join(" imports "));
    if (visited.has(file)) return;
    visited.add(file);
    for (const target of targets.get(file) ?? []) visit(target, [...way, file]);
  };
  for (const file of targets.keys()) visit(file, []);
  return found;
}

test("backends do not import each other", async () => {
  const across: string[] = [];
  for await (const { file, target } of imports("backends/*/*.ts")) {
    const [, own] = file.split("/");
    const [layer, other] = target.split("/");
    if (layer === "backends" && !other?.endsWith(".ts") && other !== own)
      across.push(`${file} imports ${target}`);
  }
  expect(across).toEqual([]);
});

test("a backend is a folder and one line in the list of backends", async () => {
  const named: string[] = [];
  for await (const { file, target } of imports("**/*.ts")) {
    const folder = folderOfBackend(target);
    if (folder !== undefined && folderOfBackend(file) !== folder) named.push(`${file} imports ${target}`);
  }
  const folders = BACKENDS.map(({ name }) => `backends/backends.ts imports backends/${name}/${name}.ts`);
  expect(named.sort()).toEqual(folders.sort());
});

function folderOfBackend(file: string): string | undefined {
  return /^backends\/([^/]+)\/[^/]+$/.exec(file)?.[1];
}

/** Flags that iptables has, too. */
const SHARED_FLAGS = ["random-fully", "to-ports", "log-level"];
const FLAGS = Object.keys(AGENT_FLAGS).filter(flag => !SHARED_FLAGS.includes(flag));
/** The names of our table, chain and program, and the agent's flags. */
const OURS = new RegExp(String.raw`\bip-?masq\b|--(?:${FLAGS.join("|")})\b`, "gi");

test.each([
  "run ipmasq cleanup",
  'const TABLE = "ip-masq-agent";',
  "start the agent with --backend=nftables",
])("a driver that knows ipmasq would be found: %s", text => {
  expect(text.match(OURS)).toHaveLength(1);
});

test("drivers know neither the policy nor the names of ipmasq's rules", async () => {
  const found: string[] = [];
  for await (const { file, target } of imports("{nft,xtables}/*.ts")) {
    if (/^(policy|config)\//.test(target)) found.push(`${file} imports ${target}`);
  }
  for await (const file of new Bun.Glob("{nft,xtables}/*.ts").scan(SRC)) {
    const words = (await Bun.file(join(SRC, file)).text()).match(OURS) ?? [];
    found.push(...words.map(word => `${file}: ${word}`));
  }
  expect(found).toEqual([]);
});

/** Files that run a program or parse a text, and may inspect its output. */
const DRIVERS = /^(system|nft|xtables|conntrack)\//;
const TEXTS = "(?:message|what|remedy|stderr)";
const SEARCHES = [
  new RegExp(String.raw`\b${TEXTS}\??\.(?:includes|startsWith|endsWith|match|search|indexOf)\(`),
  new RegExp(String.raw`\.(?:test|exec)\([^()]*\b${TEXTS}\b`),
  new RegExp(String.raw`\.${TEXTS} ===? "`),
];

test("only drivers inspect the text of errors", async () => {
  const found: string[] = [];
  for await (const file of new Bun.Glob("**/*.ts").scan(SRC)) {
    if (DRIVERS.test(file)) continue;
    const lines = (await Bun.file(join(SRC, file)).text()).split("\n");
    found.push(...lines.filter(line => SEARCHES.some(it => it.test(line))).map(line => `${file}: ${line}`));
  }
  expect(found).toEqual([]);
});

test.each([
  'if (error.message.includes("NET_ADMIN")) return;',
  "if (!SHORT_OF_FILES.test(message)) return;",
  'return /did you mean "([^"]+)"/.exec(parsed.remedy)?.[1] ?? text;',
  'if (what === "no" || error.what === "x") return;',
])("such a decision would be seen: %s", line => {
  expect(SEARCHES.some(it => it.test(line))).toBe(true);
});

/** Timestamps for people. */
const TIMESTAMP = /\b(at|since): Date\.now\(\)|const at = Date\.now\(\)/;
const SETTABLE = /\bDate\.now\(\)|\bnew Date\(\)/;

test("durations are measured with a monotonic clock", async () => {
  const found: string[] = [];
  for await (const file of new Bun.Glob("**/*.ts").scan(SRC)) {
    const lines = (await Bun.file(join(SRC, file)).text()).split("\n");
    const wrong = lines.filter(line => SETTABLE.test(line.replace(TIMESTAMP, "")));
    found.push(...wrong.map(line => `${file}: ${line}`));
  }
  expect(found).toEqual([]);
});

test.each([
  "this.#since ??= Date.now();",
  "seconds: (Date.now() - at) / 1000",
  "const at = Date.now(), end = Date.now() + 5",
])("one that can be set would be seen: %s", line => {
  expect(SETTABLE.test(line.replace(TIMESTAMP, ""))).toBe(true);
});

/** The imports of files in `src`, by paths within it. */
async function* imports(glob: string): AsyncGenerator<{ readonly file: string; readonly target: string }> {
  for await (const file of new Bun.Glob(glob).scan(SRC)) {
    const source = await Bun.file(join(SRC, file)).text();
    for (const [, imported = ""] of source.matchAll(/(?:from|import\()\s*"(\.[^"]+)"/g)) {
      yield { file, target: relative(SRC, join(SRC, file, "..", imported)) };
    }
  }
}

function layer(file: string): number {
  const index = LAYERS.indexOf(file.split("/")[0] ?? "");
  expect(index, `${file} is in a layer`).toBeGreaterThanOrEqual(0);
  return index;
}
