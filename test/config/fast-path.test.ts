import { expect, test } from "bun:test";
import fc from "fast-check";
import { openConfigDocument } from "../../src/config/document.ts";
import { readFast } from "../../src/config/fast-path.ts";
import { configLimits, wholeText } from "../../src/config/text.ts";
import { parseYaml } from "../../src/config/yaml.ts";

const LIMITS = configLimits("");

/** The result of the YAML parser; undefined if it finds a problem. */
function byYaml(content: string) {
  const text = wholeText("config", content);
  const { roots, problems } = parseYaml(text, LIMITS);
  return problems.length > 0 || roots[0]?.kind !== "mapping" ? undefined : roots[0];
}

const fast = (content: string) => readFast(wholeText("config", content), LIMITS);

test.each([
  "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 192.168.0.0/16\nresyncInterval: 60s\nmasqLinkLocal: false\n",
  "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n- fd00::/8\nmasqLinkLocalIPv6: true",
  "# ours\n\nnonMasqueradeCIDRs: # all\n\n  # first\n  -   '10.0.0.0/8'   # second\n# third\n  - \"eth*\"\n\n\n",
  "cidrLimit: 100\n   # behind it\noutputInterfaces:\n    - eth0\n    - wg-1\n",
])("the fast path reads %j", content => {
  expect(fast(content)).toEqual(byYaml(content));
});

test.each([
  "",
  "# nothing\n",
  "nonMasqueradeCIDRs:\n",
  "nonMasqueradeCIDRs: []\n",
  "nonMasqueradeCIDRs: [10.0.0.0/8]\n",
  "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n    - 192.168.0.0/16\n",
  "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n- 192.168.0.0/16\n",
  "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  192.168.0.0/16\n",
  "nonMasqueradeCIDRs:\n  - - 10.0.0.0/8\n",
  "nonMasqueradeCIDRs:\n  - a: b\n",
  "nonMasqueradeCIDRs:\n  - a:\n",
  "nonMasqueradeCIDRs:\r\n  - 10.0.0.0/8\r\n",
  "nonMasqueradeCIDRs:\n\t- 10.0.0.0/8\n",
  "masqLinkLocal: true\n- 10.0.0.0/8\n",
  "masqLinkLocal: true\nmasqLinkLocal: true\n",
  "masqLinkLocal: true false\n",
  "masqLinkLocal:true\n",
  " masqLinkLocal: true\n",
  "---\nmasqLinkLocal: true\n",
  "masqLinkLocal: true # 設定\n",
])("the fast path leaves %j to the YAML parser", content => {
  expect(fast(content)).toBeUndefined();
});

test("the fast path leaves texts with too many lines to the YAML parser", () => {
  const list = (entries: number) => `nonMasqueradeCIDRs:\n${"- a\n".repeat(entries)}`;
  expect(fast(list(0.8 * LIMITS.entries - 1))).toBeDefined();
  expect(fast(list(0.8 * LIMITS.entries))).toBeUndefined();
  const keys = Array.from({ length: 0.8 * LIMITS.entries }, (_, i) => `k${i}: v # c\n`).join("");
  expect(fast(keys)).toEqual(byYaml(keys));
});

/** Everything that reading a config returns. A comment that is not ASCII makes the YAML parser read it. */
const said = async (content: string) => {
  const document = await openConfigDocument(wholeText("config", content));
  const { problems, config, entries, nullList, allowances } = document.read(document.enableIPv6);
  return { problems, config, entries, nullList, allowances, elements: document.elements };
};

const usual = [
  "10.0.0.0/8",
  "fd00::/8",
  "true",
  "null",
  "60s",
  "1e3",
  "y",
  "a:b",
  "'10.0.0.0/8'",
  '"eth*"',
  "''",
];
const unusual = [
  "::/0",
  "a:",
  "-",
  '"a',
  "a'b",
  "a\\b",
  "&a",
  "*a",
  "!t",
  "<<",
  "a b",
  "a#b",
  "[]",
  "|",
  "? a",
  "é",
];
const words = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...usual) },
  fc.oneof(fc.constantFrom(...unusual), fc.string({ maxLength: 4 })),
);
const ends = fc.constantFrom("", "", "", " ", " # c", " # c: 'd", "  #", "# c", "\r", "\t");
const blanks = fc.constantFrom(" ", " ", "  ", "");
const keys = fc.tuple(fc.constantFrom("a", "b", "c", "key_1", "y", "null", "'q'", "a b"), fc.constant(":"));
const lines = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(keys, blanks, words, ends) },
  { weight: 4, arbitrary: fc.tuple(keys, ends, fc.constantFrom("\n- ", "\n  - "), words, ends) },
  { weight: 6, arbitrary: fc.tuple(fc.constantFrom("- ", "  - ", "  - ", "  -  ", "    - "), words, ends) },
  { weight: 2, arbitrary: fc.tuple(blanks, ends) },
  fc.oneof(fc.tuple(blanks, words), fc.tuple(fc.constantFrom("---", "...", "%YAML 1.2", ": b", "a:", "-"))),
);
const texts = fc
  .array(lines, { maxLength: 6 })
  .map(all => `${all.map(parts => parts.flat().join("")).join("\n")}`);

test("the fast path returns the same as the YAML parser", () => {
  let read = 0;
  fc.assert(
    fc.property(texts, content => {
      const root = fast(content);
      if (!root) return;
      read++;
      expect(root).toEqual(byYaml(content) ?? { kind: "mapping", at: root.at, entries: new Map() });
    }),
    { numRuns: 20_000 },
  );
  expect(read).toBeGreaterThan(500);
});

const KEYS = [
  "nonMasqueradeCIDRs",
  "NonMasqueradeCIDRs",
  "nonMasqueradeSrcCIDRs",
  "forceMasqueradeCIDRs",
  "outputInterfaces",
  "resyncInterval",
  "masqLinkLocal",
  "enableIPv6",
  "cidrLimit",
  "config",
  "hooks",
];
const VALUES = [
  "10.0.0.0/8",
  "10.0.0.1/8",
  "fd00::/8",
  "eth0",
  "'eth0@if5'",
  "true",
  "500ms",
  "60",
  "5m",
  "70",
  "null",
];
const REMARKS = [
  "",
  "",
  " # c",
  " # ipmasq: allow interval-raised",
  " # ipmasq: allow unknown-key, x",
  " # {{ x }}",
];
const realLines = fc.oneof(
  fc.tuple(
    fc.constantFrom(...KEYS),
    fc.constant(": "),
    fc.constantFrom(...VALUES),
    fc.constantFrom(...REMARKS),
  ),
  fc.tuple(
    fc.constantFrom(...KEYS),
    fc.constantFrom(":\n  - ", ":\n  - ", ":\n  - ", ":"),
    fc.constantFrom(...VALUES),
    fc.constantFrom(...REMARKS),
  ),
  fc.tuple(fc.constant("  - "), fc.constantFrom(...VALUES), fc.constantFrom(...REMARKS)),
  fc.tuple(fc.constant("  - "), fc.constantFrom(...VALUES), fc.constantFrom(...REMARKS)),
  fc.tuple(fc.constantFrom("# ipmasq: allow key-capitals", "", "---")),
);

test("problems and values do not depend on whether the fast path or the YAML parser reads a config", async () => {
  let read = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(realLines, { maxLength: 5 }), async all => {
      const content = `${all.map(parts => parts.join("")).join("\n")}\n`;
      if (fast(content)) read++;
      expect(await said(content)).toEqual(await said(`${content}# \u00e9\n`));
    }),
    { numRuns: 1000 },
  );
  expect(read).toBeGreaterThan(100);
});
