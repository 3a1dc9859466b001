/** What happens to configs, each kind with its cause and not its symptoms. */
import { describe, expect, test } from "bun:test";
import { problemsOf } from "./folder.ts";

const KEEP = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n";
const NO_CONFIG =
  "no known key, so this is not a config; write a config, or leave the file empty for the defaults";
const TEMPLATE =
  'an unrendered template, of Helm or the like: "{{"; render it first, as with "helm template"';
const LIST = 'write its CIDRs as a list, as in "nonMasqueradeCIDRs: [10.0.0.0/8]"';
const WRAPPER = (key: string) =>
  `remove the wrapper "${key}:", so that the keys of the config are the outermost`;

describe("a template", () => {
  test.each([
    ["a loop", "nonMasqueradeCIDRs:\n{{- range .Values.cidrs }}\n  - {{ . }}\n{{- end }}\n", "2:1"],
    ["a value", "nonMasqueradeCIDRs: {{ .Values.cidrs }}\n", "1:21"],
    ["a value in quotes", 'nonMasqueradeCIDRs: ["{{ .Values.cidr }}"]\n', "1:23"],
    ["Jinja", "resyncInterval: {{ interval }}\n", "1:17"],
    ["a text in a ConfigMap", `kind: ConfigMap\ndata:\n  config: |\n    cidrLimit: {{ .n }}\n`, "4:16"],
    ["a ConfigMap", `kind: ConfigMap\ndata:\n  config: |\n{{ .Values.config | indent 4 }}\n`, "4:1"],
  ])("%s", async (_what, config, place) => {
    expect(await problemsOf(config)).toEqual([`c:${place}: ${TEMPLATE}`]);
  });

  test("that stands in a comment is none", async () => {
    expect(await problemsOf(`# {{ x }}\n${KEEP}masqLinkLocal: true # {{ y\n`)).toEqual([]);
  });
});

describe("a wrapper", () => {
  test.each([
    [
      "a mapping",
      "config:\n  nonMasqueradeCIDRs:\n    - 10.0.0.0/8\n",
      "c:1:1: config: the config is inside of",
      "config",
    ],
    ["JSON", '{"data": {"NonMasqueradeCIDRs": []}}', "c:1:2: data: the config is inside of", "data"],
    [
      "a text",
      "ip-masq-agent: |\n  nonMasqueradeCIDRs: []\n",
      "c:1:1: ip-masq-agent: the config is a text inside of",
      "ip-masq-agent",
    ],
    [
      "beside others",
      "name: x\nconfig: {cidrLimit: 5}\n",
      "c:2:1: config: the config is inside of",
      "config",
    ],
  ])("%s", async (_what, config, begin, key) => {
    expect(await problemsOf(config)).toEqual([`${begin} "${key}"; ${WRAPPER(key)}`]);
  });
});

describe("a text without a known key", () => {
  const prefix = '{"ip_prefix":"192.0.2.0/24","region":"eu-west-1"}';
  test.each([
    ["AWS", `{"syncToken":"17","prefixes":[${prefix}]}`, "AWS' list of addresses (ip-ranges.json)"],
    [
      "AWS, as long as it is",
      `{"syncToken":"17",\n"prefixes":[\n${Array(9000).fill(prefix).join(",\n")}]}`,
      "AWS' list of addresses (ip-ranges.json)",
    ],
    [
      "Google",
      '{"prefixes":[{"ipv4Prefix":"192.0.2.0/24"}]}',
      "Google's list of addresses (cloud.json, goog.json)",
    ],
    [
      "Azure",
      '{"changeNumber":1,"values":[{"properties":{"addressPrefixes":["192.0.2.0/24"]}}]}',
      "Azure's list of addresses (ServiceTags)",
    ],
    ["GitHub", '{"hooks":["192.0.2.0/24"],"git":[]}', "GitHub's list of addresses (api.github.com/meta)"],
    ["Cloudflare", '{"result":{"ipv4_cidrs":["192.0.2.0/24"]}}', "Cloudflare's list of addresses"],
    ["a kubeconfig", "apiVersion: v1\nclusters: []\ncontexts: []\n", "a kubeconfig"],
    ["a CNI config", '{"cniVersion":"1.0.0","plugins":[]}', "a CNI plugin's config"],
    ["a list of objects", '[{"ip_prefix":"192.0.2.0/24"}]', "AWS' list of addresses (ip-ranges.json)"],
  ])("%s", async (_what, config, what) => {
    expect(await problemsOf(config)).toEqual([`c:1:1: looks like ${what}, which is not a config; ${LIST}`]);
  });

  test("is an error, and each key has its warning", async () => {
    const lines = await problemsOf("nonMasqueradeCIDR: [10.0.0.0/8]\n");
    expect(lines).toEqual([
      `c:1:1: ${NO_CONFIG}`,
      'c:1:1: warning: nonMasqueradeCIDR: not a known key; did you mean "nonMasqueradeCIDRs"? [unknown-key]',
    ]);
  });

  test.each(["", "\n", "# nothing\n", "{}", "null", "~", "---\n", "--- # nothing\n...\n"])(
    "%j still means the defaults",
    async config => {
      expect(await problemsOf(config)).toEqual([]);
    },
  );
});

describe("a character that nobody sees", () => {
  const NBSP = "a no-break space (U+00A0) where a blank belongs; replace it by a blank";
  test.each([
    ["in the indentation", "nonMasqueradeCIDRs:\n\u00a0\u00a0- 10.0.0.0/8\n", [`c:2:1: ${NBSP}`]],
    [
      "behind the dash",
      "nonMasqueradeCIDRs:\n  -\u00a010.0.0.0/8\n",
      [`c:2:3: nonMasqueradeCIDRs: "-\\u{a0}10.0.0.0/8" has ${NBSP}`],
    ],
    [
      "in front of a key",
      "cidrLimit: 5\n\u00a0masqLinkLocal: true\n",
      [`c:2:1: \\u{a0}masqLinkLocal: ${NBSP}`],
    ],
    ["behind the colon", "cidrLimit: 5\nmasqLinkLocal:\u00a0true\n", [`c:2:15: ${NBSP}`]],
    [
      "in a CIDR",
      "nonMasqueradeCIDRs: ['10.0.0.0/8\u200b', 10.0.0.1/8]\n",
      [
        'c:1:22: nonMasqueradeCIDRs[0]: "10.0.0.0/8\\u{200b}" has a zero-width space (U+200B); remove it',
        'c:1:37: nonMasqueradeCIDRs[1]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?',
      ],
    ],
    [
      "a byte order mark within",
      "cidrLimit: 5\n\ufeffmasqLinkLocal: true\n",
      ["c:2:1: \\u{feff}masqLinkLocal: a byte order mark (U+FEFF); remove it"],
    ],
    [
      "in a value",
      "masqLinkLocal: true\u2060\n",
      ['c:1:16: masqLinkLocal: "true\\u{2060}" has a word joiner (U+2060); remove it'],
    ],
    [
      "in the name of an interface",
      "outputInterfaces: [eth0\u200e]\n",
      ['c:1:20: outputInterfaces[0]: "eth0\\u{200e}" has an invisible character (U+200E); remove it'],
    ],
    [
      "curly quotes",
      "nonMasqueradeCIDRs: [“10.0.0.0/8”]\n",
      [
        'c:1:22: nonMasqueradeCIDRs[0]: "“10.0.0.0/8”" has the character “ (U+201C); replace it by a straight double quote',
      ],
    ],
    [
      "a dash for a hyphen",
      "nonMasqueradeCIDRs:\n  – 10.0.0.0/8\n  – 172.16.0.0/12\nmasqLinkLocal: true\n",
      [
        'c:2:3: nonMasqueradeCIDRs: "– 10.0.0.0/8 – 172.16.0.0/12" has the character – (U+2013); replace it by a hyphen',
      ],
    ],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });

  test("is fine in comments", async () => {
    expect(await problemsOf(`# “a”\u00a0–\n${KEEP}masqLinkLocal: true # \u200b\n`)).toEqual([]);
  });
});

describe("tabs", () => {
  const TAB = "a tab in the indentation; indent with blanks";
  test.each([
    ["of a list", "nonMasqueradeCIDRs:\n\t- 10.0.0.0/8\n\t- 172.16.0.0/12\n", [`c:2:1: ${TAB}`]],
    ["behind blanks", "nonMasqueradeCIDRs:\n  \t- 10.0.0.0/8\n", [`c:2:3: ${TAB}`]],
    ["of a mapping", "config:\n\tcidrLimit: 5\n", [`c:2:1: ${TAB}`]],
    ["within a line", "nonMasqueradeCIDRs:\t[10.0.0.0/8]\t# x\nmasqLinkLocal:\ttrue\n", []],
    ["alone", `${KEEP}\t\n`, []],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });
});

describe("a line that is indented like none above is one error", () => {
  const FITS = "which fits no line above; indent all entries of a list, and all keys, alike";
  test.each([
    [
      "an entry",
      "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n - 172.16.0.0/12\n",
      `3:2: this line is indented by 1 blank`,
    ],
    [
      "between two depths",
      "# ours\nnonMasqueradeCIDRs:\n\n    - 10.0.0.0/8\n  - 10.1.0.0/16\nmasqLinkLocal: true\n",
      "5:3: this line is indented by 2 blanks",
    ],
    [
      "a key left of the first",
      " nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nmasqLinkLocal: true\n",
      "3:1: this line is indented by 0 blanks",
    ],
  ])("%s", async (_what, config, problem) => {
    expect(await problemsOf(config)).toEqual([`c:${problem}, ${FITS}`]);
  });

  test("what is wrong elsewhere keeps its own error", async () => {
    const quoted = 'nonMasqueradeCIDRs:\n  - "10.0.0.0/8\n - x"\nmasqLinkLocal: [true\n';
    expect((await problemsOf(quoted)).join()).not.toContain(FITS);
  });
});

describe("an entry that is no CIDR for a known reason", () => {
  test.each([
    ["10.244.0.0/16,fd00::/64", "is two CIDRs in one entry; make an entry of each"],
    ["10.0.0.0/8 172.16.0.0/12; 192.168.0.0/16", "is 3 CIDRs in one entry; make an entry of each"],
    ["10.0.0.0/8, 172.16.0.0", "is two CIDRs in one entry; make an entry of each"],
    ["10.0.0.0/8 - 172.16.0.0/12", "is two CIDRs in one entry; make an entry of each"],
    ["fd00::/8 - 10.0.0.0/8 - 172.16.0.0/12", "is 3 CIDRs in one entry; make an entry of each"],
    [`$\{POD_CIDR}`, "is an unreplaced variable; write the CIDR itself"],
    ["$POD_CIDR/16", "is an unreplaced variable; write the CIDR itself"],
    ["10.0.0.0-10.0.0.255", "is a range of addresses; write the CIDRs that it is made of"],
    ["fd00:: - fd00::ff", "is a range of addresses; write the CIDRs that it is made of"],
    ["10.0.0.0/255.0.0.0", 'has a mask for a prefix length; did you mean "10.0.0.0/8"?'],
    ["10.0.0.0/255.255.255.255", 'has a mask for a prefix length; did you mean "10.0.0.0/32"?'],
  ])("%s", async (entry, problem) => {
    expect(await problemsOf(`nonMasqueradeCIDRs: ["${entry}"]`)).toEqual([
      `c:1:22: nonMasqueradeCIDRs[0]: "${entry}" ${problem}`,
    ]);
  });
});

describe("several documents", () => {
  const MORE = 'more than one document; remove the line "---" and one of the documents';
  test.each([
    ["an empty one behind", `${KEEP}---\n`, []],
    ["one behind with a comment", `${KEEP}---\n# end\n`, []],
    ["an empty one in front", `---\n---\n${KEEP}`, []],
    ["one in front with a comment", `# ours\n---\n# all\n---\n${KEEP}...\n`, []],
    ["an end mark", `${KEEP}...\n# end\n`, []],
    ["empty ones all around", `---\n\n---\n${KEEP}---\n---\n...\n`, []],
    ["two", `${KEEP}---\nmasqLinkLocal: true\n`, [`c:3:1: ${MORE}`]],
    ["two behind an empty one", `---\n---\n${KEEP}---\ncidrLimit: 5\n`, [`c:5:1: ${MORE}`]],
    ["null", `${KEEP}---\nnull\n`, [`c:3:1: ${MORE}`]],
    ["one behind an end mark", `${KEEP}...\ncidrLimit: 5\n`, [`c:3:1: ${MORE}`]],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });
});

describe("an interface", () => {
  test.each([
    [
      '"!eth0"',
      '"!eth0": negated interfaces are not supported yet; name the interfaces that connections are masqueraded on',
    ],
    [
      "eth0@if5",
      '"eth0@if5" is an interface as "ip link" prints it, with its peer "if5"; did you mean "eth0"?',
    ],
    [
      "eth0.7@eth0",
      '"eth0.7@eth0" is an interface as "ip link" prints it, with its peer "eth0"; did you mean "eth0.7"?',
    ],
    [
      "veth1@NONE",
      '"veth1@NONE" is an interface as "ip link" prints it, with its peer "NONE"; did you mean "veth1"?',
    ],
  ])("%s", async (entry, problem) => {
    expect(await problemsOf(`outputInterfaces: [${entry}]`)).toEqual([
      `c:1:20: outputInterfaces[0]: ${problem}`,
    ]);
  });

  test("with an exclamation mark outside of quotes", async () => {
    expect(await problemsOf("outputInterfaces: [!eth0]")).toEqual([
      'c:1:20: a tag, "!eth0"; put the word that begins with an exclamation mark in quotes, or remove it',
    ]);
  });
});

test.each(["500ms", "0s", "-5m", "999ms", "1ns"])("a resyncInterval of %s counts as 1s", async interval => {
  expect(await problemsOf(`resyncInterval: ${interval}`)).toEqual([
    `c:1:17: warning: resyncInterval: "${interval}" is too short and counts as 1s; write at least 1s [interval-raised]`,
  ]);
});

test("a list without a value masquerades everything, with a warning", async () => {
  const line =
    "warning: nonMasqueradeCIDRs: a key without a value, so everything but link-local is masqueraded; list what is not, or write [] if that is meant [everything-masqueraded]";
  expect(await problemsOf("nonMasqueradeCIDRs:\n")).toEqual([`c:1:20: ${line}`]);
  expect(await problemsOf("nonMasqueradeCIDRs: ~\n")).toEqual([`c:1:21: ${line}`]);
  expect(await problemsOf("nonMasqueradeCIDRs: []\n")).toEqual([]);
});
