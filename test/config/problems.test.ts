import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { KEY_NAMES } from "../../src/config/keys.ts";
import { problemsOf } from "./folder.ts";

const KEYS = `the keys are ${KEY_NAMES.join(", ")}`;
const CIDR = 'write a CIDR, for example "10.0.0.0/8"';
const BOOLEAN = "write true or false without quotes";
const POSITIVE = "write a positive whole number without quotes";

describe("configs without a problem", () => {
  test.each([
    ["nothing", ""],
    ["comments alone", "# nothing\n\n  # here\n"],
    ["null", "null\n"],
    ["an empty mapping", "{}"],
    ["keys without values", "masqueradeCIDRs:\nmasqLinkLocal:\nresyncInterval: ~\ncidrLimit: null\n"],
    ["JSON", '{"nonMasqueradeCIDRs": ["10.0.0.0/8"], "masqLinkLocal": true, "cidrLimit": 5}'],
    ["a byte order mark and CRLF", "\uFEFFmasqLinkLocal: true\r\nnonMasqueradeCIDRs:\r\n  - 10.0.0.0/8\r\n"],
    ["YAML 1.1's booleans", "masqLinkLocal: yes\nmasqLinkLocalIPv6: Off\n"],
    ["a document with start and end marks", "---\nmasqLinkLocal: true\n...\n"],
    ["excluded interfaces", "outputInterfaces: ['!docker0', \"!wg*\"]\n"],
    ["duplicates and overlaps", "nonMasqueradeCIDRs: [10.0.0.0/8, 10.0.0.0/8, 10.1.0.0/16]\n"],
    ["an anchor and its alias", "nonMasqueradeCIDRs: &pods [10.0.0.0/8]\nsourceCIDRs: *pods\n"],
    [
      "all keys",
      "nonMasqueradeCIDRs: [10.0.0.0/8, 'fc00::/7']\nmasqLinkLocal: false\nmasqLinkLocalIPv6: true\nresyncInterval: 1m30s\ncidrLimit: 2\nmasqueradeCIDRs: []\nsourceCIDRs: ['10.0.0.0/8', 'fd00::/8']\ndropLeaks: true\nnonMasqueradeSourceCIDRs: [10.1.0.0/16, 'fd00:1::/32']\noutputInterfaces: [eth0, \"wg*\"]\nsnatAddresses: [192.0.2.0/24]\nenableIPv6: true\n",
    ],
  ])("%s", async (_what, config) => {
    expect(await problemsOf(config)).toEqual([]);
  });
});

describe("an invalid CIDR", () => {
  const NUMBERS = "write an IPv4 address such as 10.0.0.0 or an IPv6 address such as fd00::";
  const TIDY = 'did you mean "10.0.0.0", without leading zeros and spaces?';
  test.each([
    ["10.0.0.0/33", '"10.0.0.0/33" has the invalid prefix length "33"; use a prefix length from 0 to 32'],
    ["10.0.0/8", `"10.0.0/8": "10.0.0" is not an IP address; ${NUMBERS}`],
    ["010.0.0.0/8", `"010.0.0.0/8": "010.0.0.0" is not an IP address; ${TIDY}`],
    ['" 10.0.0.0/8"', `" 10.0.0.0/8": " 10.0.0.0" is not an IP address; ${TIDY}`],
    ["10.0.0.1/8", '"10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?'],
    ["10.0.0.0", '"10.0.0.0" has no prefix length; did you mean "10.0.0.0/32"?'],
    [
      "::ffff:10.0.0.0/104",
      '"::ffff:10.0.0.0/104": "::ffff:10.0.0.0" is an IPv4-mapped IPv6 address; write the IPv4 address',
    ],
    ["fe80::%eth0/64", '"fe80::%eth0/64": "fe80::%eth0" has a zone; remove the "%" and the zone after it'],
    ["2001:db8::/32", '"2001:db8::/32" is IPv6, which is not enabled; set "enableIPv6: true"'],
    ["8", `expected a string, found 8; ${CIDR}`],
    ["", `expected a string, found nothing; ${CIDR}`],
    ["[10.0.0.0/8]", `expected a string, found a list; ${CIDR}`],
    ["{a: 10.0.0.0/8}", `expected a string, found a mapping; ${CIDR}`],
  ])("%s", async (entry, problem) => {
    for (const key of ["nonMasqueradeCIDRs", "masqueradeCIDRs", "sourceCIDRs", "nonMasqueradeSourceCIDRs"]) {
      const lines = await problemsOf(`${key}:\n  - 10.0.0.0/8\n  - ${entry}\n`);
      expect(lines).toEqual([`c:3:5: ${key}[1]: ${problem}`]);
    }
  });

  test("IPv6 is allowed with --enable-ipv6", async () => {
    expect(
      await problemsOf("masqueradeCIDRs: [2001:db8::/32]\nnonMasqueradeCIDRs: []", { enableIPv6: true }),
    ).toEqual([]);
  });
});

describe("a wrong value", () => {
  test.each([
    ["resyncInterval: 60", 'c:1:17: resyncInterval: expected a string, found 60; did you mean "60s"?'],
    ['resyncInterval: "60"', 'c:1:17: resyncInterval: "60" has no unit; did you mean "60s"?'],
    ["resyncInterval: 597h", 'c:1:17: resyncInterval: "597h" is too long; write at most 596h0m0s'],
    [
      "resyncInterval: [60s]",
      'c:1:17: resyncInterval: expected a string, found a list; add a unit, for example "60s"',
    ],
    ["cidrLimit: 0", `c:1:12: cidrLimit: expected a positive number, found 0; ${POSITIVE}`],
    ["cidrLimit: 1.5", `c:1:12: cidrLimit: expected a whole number, found 1.5; ${POSITIVE}`],
    ['cidrLimit: "5"', `c:1:12: cidrLimit: expected a number, found "5"; ${POSITIVE}`],
    ["masqLinkLocal: maybe", `c:1:16: masqLinkLocal: expected true or false, found "maybe"; ${BOOLEAN}`],
    [
      'masqLinkLocalIPv6: "true"',
      `c:1:20: masqLinkLocalIPv6: expected true or false, found "true"; ${BOOLEAN}`,
    ],
    [
      "nonMasqueradeCIDRs: 10.0.0.0/8",
      'c:1:21: nonMasqueradeCIDRs: expected a list, found "10.0.0.0/8"; did you mean [10.0.0.0/8]?',
    ],
    [
      "nonMasqueradeCIDRs: '[10.0.0.0/8]'",
      'c:1:21: nonMasqueradeCIDRs: expected a list, found "[10.0.0.0/8]"; remove the quotes',
    ],
    [
      "outputInterfaces: [eth0, '*']",
      'c:1:26: outputInterfaces[1]: "*" matches every interface; remove "outputInterfaces"',
    ],
    [
      "outputInterfaces: ['!docker0', '!wg*', eth0]",
      'c:1:40: outputInterfaces: "eth0" includes an interface and "!docker0" excludes one; write "!" before all entries, or before none',
    ],
    [
      "outputInterfaces: [eth0, '!eth1']",
      'c:1:26: outputInterfaces: "eth0" includes an interface and "!eth1" excludes one; write "!" before all entries, or before none',
    ],
    [
      "dropLeaks: true",
      "c:1:12: dropLeaks: needs sourceCIDRs; set sourceCIDRs to the CIDRs of Pods or clients, or remove dropLeaks",
    ],
    [
      "outputInterfaces: [a*b]",
      'c:1:20: outputInterfaces[0]: "a*b" has a "*" before its end; write a name such as "eth0" or a prefix such as "eth*"',
    ],
    [
      "outputInterfaces: [abcdefghijklmno*]",
      'c:1:20: outputInterfaces[0]: "abcdefghijklmno*" is too long for the kernel; use at most 15 bytes',
    ],
    [
      "outputInterfaces: ['@a']",
      'c:1:20: outputInterfaces[0]: "@a" is not an interface name; write a name such as "eth0" or a prefix such as "eth*"',
    ],
    [
      "[10.0.0.0/8]",
      'c:1:1: expected a mapping of keys to values, found a list; write, for example, "nonMasqueradeCIDRs: [10.0.0.0/8]"',
    ],
    [
      "hello",
      'c:1:1: expected a mapping of keys to values, found "hello"; write, for example, "nonMasqueradeCIDRs: [10.0.0.0/8]"',
    ],
  ])("%s", async (config, line) => {
    expect(await problemsOf(config)).toEqual([line]);
  });
});

describe("a key", () => {
  test.each([
    [
      "given twice",
      "masqLinkLocal: true\nmasqLinkLocal: true\n",
      ["c:2:1: masqLinkLocal: duplicate key, first on line 1; remove one of them"],
    ],
    [
      "given twice in two spellings",
      "masqLinkLocal: true\nMasqLinkLocal: true\n",
      [
        'c:2:1: MasqLinkLocal: duplicate key, first as "masqLinkLocal" on line 1; remove one of them',
        'c:2:1: warning: MasqLinkLocal: unusual capitalization; write "masqLinkLocal" [key-capitals]',
      ],
    ],
    [
      "with unusual capitalization",
      "NONMASQUERADECIDRS: []\n",
      [
        'c:1:1: warning: NONMASQUERADECIDRS: unusual capitalization; write "nonMasqueradeCIDRs" [key-capitals]',
      ],
    ],
    [
      "misspelt",
      "cidrLimit: 5\nnonMasquaradeCIDRs: []\n",
      ['c:2:1: warning: nonMasquaradeCIDRs: unknown key; did you mean "nonMasqueradeCIDRs"? [unknown-key]'],
    ],
    ["unknown", "cidrLimit: 5\npods: []\n", [`c:2:1: warning: pods: unknown key; ${KEYS} [unknown-key]`]],
    ["that is a list", "? [a]\n: b\n", ["c:1:3: a key that is not a string; write the key as a plain word"]],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });
});

describe("a wrong text", () => {
  test.each([
    [
      "two documents",
      "masqLinkLocal: true\n---\nmasqLinkLocal: true\n",
      'c:2:1: more than one YAML document; remove one of them and its "---" line',
    ],
    [
      "a tag",
      "masqLinkLocal: !!bool true\n",
      'c:1:16: a YAML tag, "!!bool"; quote the word that starts with "!", or remove it',
    ],
    ["a tab", "nonMasqueradeCIDRs:\n\t- 10.0.0.0/8\n", "c:2:1: a tab in the indentation; indent with spaces"],
    [
      "an alias without an anchor",
      "sourceCIDRs: *pods\n",
      'c:1:14: the alias "*pods" has no anchor; define "&pods" on an earlier value',
    ],
    [
      "an alias that contains itself",
      "sourceCIDRs: &a [*a]\n",
      'c:1:18: the alias "*a" contains itself; write out the value',
    ],
    ["a NUL byte", "masqLinkLocal: true\n\0", "c:2:1: a NUL byte; remove it"],
    [
      "invalid UTF-8",
      Buffer.from("masqLinkLocal: tr\xffe", "latin1"),
      "c:1:18: invalid UTF-8; save the file as UTF-8",
    ],
    ["33 levels", `a: ${"[".repeat(32)}`, "c:1:35: nested more than 32 levels deep; remove levels"],
    [
      "65 CIDRs",
      `nonMasqueradeCIDRs:\n${many(65)}`,
      'c:66:3: nonMasqueradeCIDRs: 65 entries exceed the cidrLimit of 64; set "cidrLimit: 65", or remove entries',
    ],
    [
      "6 CIDRs, one of them wrong, with a limit of 5",
      `cidrLimit: 5\nsourceCIDRs:\n${many(5)}- 10.0.0.1/8\n`,
      'c:8:3: sourceCIDRs: 6 entries exceed the cidrLimit of 5; set "cidrLimit: 6", or remove entries',
    ],
  ])("%s", async (_what, config, line) => {
    expect(await problemsOf(config)).toContain(line);
  });

  test("101 uses of aliases, nested ones included", async () => {
    const line = "c:3:1: more than 100 uses of aliases; write out the values";
    const ten = (alias: string) => Array(10).fill(alias).join(", ");
    const bomb = `a: &a [${ten("x")}]\nb: &b [${ten("*a")}]\nc: [${ten("*b")}]\n`;
    expect((await problemsOf(bomb)).map(it => it.replace(/^c:3:\d+/, "c:3:1"))).toContain(line);
    expect(await problemsOf(`sourceCIDRs: [&a 10.0.0.0/8, ${Array(63).fill("*a").join(", ")}]`)).toEqual([]);
  });

  test("more than 64 CIDRs are allowed with a higher limit", async () => {
    expect(await problemsOf(`cidrLimit: 1000\nnonMasqueradeCIDRs:\n${many(256)}`)).toEqual([]);
  });

  test("all problems are reported at once, errors first, at most 50", async () => {
    const config = `pods: 1\nmasqLinkLocal: 5\nnonMasqueradeCIDRs:\n${"- x\n".repeat(60)}`;
    const lines = await problemsOf(config);
    expect(lines[0]).toBe(`c:2:16: masqLinkLocal: expected true or false, found 5; ${BOOLEAN}`);
    expect(lines[1]).toStartWith("c:4:3: nonMasqueradeCIDRs[0]:");
    expect(lines).toHaveLength(51);
    expect(lines.at(-1)).toBe("and 12 more problems");
  });

  test("a problem of an alias is reported at its anchor", async () => {
    const lines = await problemsOf("masqueradeCIDRs: [&a 10.0.0.1/8]\nsourceCIDRs: [*a]\n");
    expect(lines).toEqual([
      'c:1:22: masqueradeCIDRs[0]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?',
      'c:1:22: sourceCIDRs[0]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?',
    ]);
  });
});

test("no text throws, and each problem is one line with a place inside the text", async () => {
  const piece = fc.constantFrom(
    ..."nonMasqueradeCIDRs|sourceCIDRs|cidrLimit|: |:|- |\n|  |[|]|{|}|,|&a |*a|? |!x |<<|---\n|...\n|10.0.0.0/8|10.0.0.1/8|true|60s|\"|'|#|\\|>|\t|\r\n|\u2028|é|😀|%YAML 1.1\n".split(
      "|",
    ),
    "|",
  );
  const text = fc.array(piece, { maxLength: 40 }).map(pieces => pieces.join(""));
  await fc.assert(
    fc.asyncProperty(text, async config => {
      const lines = config.split("\n");
      for (const problem of await problemsOf(config)) {
        const [, line, column] = /^c:(\d+):(\d+): [^\p{Cc}]+; [^\p{Cc}]+$/u.exec(problem) ?? [];
        expect(Number(line)).toBeLessThanOrEqual(lines.length);
        expect(Number(column)).toBeLessThanOrEqual((lines[Number(line) - 1]?.length ?? 0) + 1);
      }
    }),
    { numRuns: 300 },
  );
});

function many(count: number): string {
  return Array.from({ length: count }, (_, i) => `- 10.0.${i}.0/24\n`).join("");
}
