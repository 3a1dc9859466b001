import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import { BINARY } from "../../lab/agent.ts";
import { Folder } from "./folder.ts";

const MIB = 1024 * 1024;

/**
 * The maximum CPU time and memory that a config may take beyond an empty one. The target is 500 ms; a busy machine
 * gets 1 s.
 */
const MOST_CPU_MS = 1000;
const MOST_BYTES = 100 * MIB;
/** The longest line of the output, in characters, with the path of the config and the list of all keys. */
const LONGEST_LINE = 700;

/** Files that demand as much as possible, most of them 4 MiB long. */
const files: Record<string, string | Uint8Array> = {
  empty: "",
  "200,000 opening brackets": "[".repeat(200_000),
  "200,000 opening braces": "{".repeat(200_000),
  "brackets for keys": filled("{[? "),
  "blocks in blocks": Array.from({ length: 2000 }, (_, i) => `${" ".repeat(i)}a:\n`).join(""),
  "lists in lists on one line": filled("- "),
  "colons in brackets": `[${filled("a: ")}`,
  "keys without values": filled("? \n"),
  "many keys": Array.from({ length: 400_000 }, (_, i) => `k${i}:\n`).join(""),
  "one key, many times": filled("masqLinkLocal:\n"),
  "many entries": `nonMasqueradeCIDRs:\n${filled("- a\n")}`,
  "many entries on one line": `nonMasqueradeCIDRs: [${filled("a,")}]`,
  "many documents": filled("---\n"),
  "many document ends": filled("...\n"),
  "many document ends, with a high limit": `cidrLimit: 250000\n${filled("...\n")}`,
  "many comments": filled("#\n"),
  "many empty lines": filled("\n"),
  blanks: filled(" "),
  tabs: filled("\t"),
  "carriage returns": filled("\r"),
  "one plain value": filled("a"),
  "one plain value of many lines": filled("a\n"),
  "one quoted value": `"${filled("a")}"`,
  "one quoted value of escapes": `"${filled("\\x41")}"`,
  "one quoted value without an end": `"${filled("\\\n")}`,
  "one literal block": `a: |\n${filled(" a\n")}`,
  "one folded block": `a: >\n${filled(" a\n")}`,
  "quotes alone": filled("'"),
  anchors: filled("&a "),
  "anchors on lines": filled("- &a a\n"),
  aliases: filled("*a "),
  "aliases on lines, with a high limit": `cidrLimit: 250000\na: &a x\nb:\n${filled("- *a\n")}`,
  "one quoted value of lines, with a high limit": `cidrLimit: 250000\na: "${filled("a\n ")}"`,
  "aliases in a list": `a: &a x\nb: [${filled("*a,")}]`,
  "aliases of aliases": Array.from(
    { length: 5000 },
    (_, i) => `a${i}: &a${i} [${Array(9).fill(`*a${i - 1}`)}]\n`,
  ).join(""),
  "merge keys": filled("<<: *a\n"),
  tags: filled("!!a "),
  templates: filled("# {{\n"),
  "no-break spaces": filled("\u00a0"),
  "no-break spaces in comments": filled("#\u00a0\n"),
  allowances: `#${filled(" # ipmasq: allow a")}`,
  "names in an allowance": `# ipmasq: allow${filled(" a")}`,
  directives: filled("%YAML 1.2\n"),
  "stars and dashes": filled("-*&!|>"),
  "a block scalar with text in its header": `a: >${filled("v6: ")}`,
  "a quoted value between plain values": `>v6: "true"\n${filled('mas>v6: \\"true\\"')}`,
  "binary data": new Uint8Array(4 * MIB - 1).map((_, i) => (i * 7919) >> 3),
  "byte order marks": filled("\uFEFF"),
  "other alphabets": filled("設定"),
  emoji: filled("😀"),
  "more than 4 MiB": "a".repeat(5 * MIB),
  "150,000 CIDRs, a line each": `cidrLimit: 150000\nnonMasqueradeCIDRs:\n${cidrs(150_000)}`,
  "5,000 CIDRs": `cidrLimit: 5000\nnonMasqueradeCIDRs:\n${Array.from({ length: 5000 }, (_, i) => `- 10.${i >> 8}.${i & 255}.0/24 # site ${i}\n`).join("")}`,
};

let folder: Folder;
beforeAll(async () => {
  folder = await Folder.create(
    Object.fromEntries(Object.entries(files).map(([name, it]) => [slug(name), it])),
  );
});
afterAll(() => folder[Symbol.asyncDispose]());

test.each(Object.keys(files))("%s", async name => {
  const empty = await cost("empty");
  const { cpu, bytes, exitCode, output } = await cost(name);
  expect([0, 1]).toContain(exitCode);
  expect(output.length).toBeLessThan(20_000);
  expect(Math.max(...output.split("\n").map(line => line.length))).toBeLessThan(LONGEST_LINE);
  expect(cpu - empty.cpu).toBeLessThan(MOST_CPU_MS);
  expect(bytes - empty.bytes).toBeLessThan(MOST_BYTES);
});

/** CPU time in milliseconds and memory in bytes of a whole process. */
async function cost(name: string) {
  const child = Bun.spawn([BINARY, "check", `--config=${join(folder.path, slug(name))}`], { stderr: "pipe" });
  const output = (await child.stdout.text()) + (await child.stderr.text());
  const exitCode = await child.exited;
  const { cpuTime, maxRSS } = child.resourceUsage() ?? {
    cpuTime: { total: 0 },
    maxRSS: Number.POSITIVE_INFINITY,
  };
  return { cpu: Number(cpuTime.total) / 1000, bytes: maxRSS, exitCode, output };
}

function cidrs(count: number): string {
  return Array.from(
    { length: count },
    (_, i) => `- ${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}.0/32\n`,
  ).join("");
}

function filled(text: string): string {
  return text.repeat(Math.floor((4 * MIB - 100) / Buffer.byteLength(text)));
}

function slug(name: string): string {
  return name.replace(/\W/g, "-");
}
