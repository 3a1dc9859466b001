/** Common accidents are reported by their cause. */
import { describe, expect, test } from "bun:test";
import { problemsOf } from "./folder.ts";

const KEEP = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n";
const NO_CONFIG = "not a config: no known key; add a key, or leave the file empty to use the defaults";
const TEMPLATE =
  'an unrendered template (Helm or similar): "{{"; render it first, for example with "helm template"';
const LIST = 'write its CIDRs as a list, for example "nonMasqueradeCIDRs: [10.0.0.0/8]"';
const WRAPPER = (key: string) => `remove "${key}:" and move its keys to the top level`;

describe("a template", () => {
  test.each([
    ["a loop", "nonMasqueradeCIDRs:\n{{- range .Values.cidrs }}\n  - {{ . }}\n{{- end }}\n", "2:1"],
    ["a value", "nonMasqueradeCIDRs: {{ .Values.cidrs }}\n", "1:21"],
    ["a value in quotes", 'nonMasqueradeCIDRs: ["{{ .Values.cidr }}"]\n', "1:23"],
    ["Jinja", "resyncInterval: {{ interval }}\n", "1:17"],
    ["a string in a ConfigMap", `kind: ConfigMap\ndata:\n  config: |\n    cidrLimit: {{ .n }}\n`, "4:16"],
    ["a ConfigMap", `kind: ConfigMap\ndata:\n  config: |\n{{ .Values.config | indent 4 }}\n`, "4:1"],
  ])("%s", async (_what, config, place) => {
    expect(await problemsOf(config)).toEqual([`c:${place}: ${TEMPLATE}`]);
  });

  test("in a comment is ignored", async () => {
    expect(await problemsOf(`# {{ x }}\n${KEEP}masqLinkLocal: true # {{ y\n`)).toEqual([]);
  });
});

describe("a wrapper", () => {
  test.each([
    [
      "a mapping",
      "config:\n  nonMasqueradeCIDRs:\n    - 10.0.0.0/8\n",
      "c:1:1: config: the config is inside",
      "config",
    ],
    ["JSON", '{"data": {"NonMasqueradeCIDRs": []}}', "c:1:2: data: the config is inside", "data"],
    [
      "a string",
      "ip-masq-agent: |\n  nonMasqueradeCIDRs: []\n",
      "c:1:1: ip-masq-agent: the config is a string inside",
      "ip-masq-agent",
    ],
    [
      "next to other keys",
      "name: x\nconfig: {cidrLimit: 5}\n",
      "c:2:1: config: the config is inside",
      "config",
    ],
  ])("%s", async (_what, config, begin, key) => {
    expect(await problemsOf(config)).toEqual([`${begin} "${key}"; ${WRAPPER(key)}`]);
  });
});

describe("a text without a known key", () => {
  const prefix = '{"ip_prefix":"192.0.2.0/24","region":"eu-west-1"}';
  test.each([
    ["AWS", `{"syncToken":"17","prefixes":[${prefix}]}`, "AWS's IP ranges (ip-ranges.json)"],
    [
      "AWS, at full length",
      `{"syncToken":"17",\n"prefixes":[\n${Array(9000).fill(prefix).join(",\n")}]}`,
      "AWS's IP ranges (ip-ranges.json)",
    ],
    ["Google", '{"prefixes":[{"ipv4Prefix":"192.0.2.0/24"}]}', "Google's IP ranges (cloud.json, goog.json)"],
    [
      "Azure",
      '{"changeNumber":1,"values":[{"properties":{"addressPrefixes":["192.0.2.0/24"]}}]}',
      "Azure's IP ranges (ServiceTags)",
    ],
    ["GitHub", '{"hooks":["192.0.2.0/24"],"git":[]}', "GitHub's IP ranges (api.github.com/meta)"],
    ["Cloudflare", '{"result":{"ipv4_cidrs":["192.0.2.0/24"]}}', "Cloudflare's IP ranges"],
    ["a kubeconfig", "apiVersion: v1\nclusters: []\ncontexts: []\n", "a kubeconfig"],
    ["a CNI config", '{"cniVersion":"1.0.0","plugins":[]}', "a CNI plugin's config"],
    ["a list of objects", '[{"ip_prefix":"192.0.2.0/24"}]', "AWS's IP ranges (ip-ranges.json)"],
  ])("%s", async (_what, config, what) => {
    expect(await problemsOf(config)).toEqual([`c:1:1: looks like ${what}, not a config; ${LIST}`]);
  });

  test("is an error, with a warning for each key", async () => {
    const lines = await problemsOf("nonMasqueradeCIDR: [10.0.0.0/8]\n");
    expect(lines).toEqual([
      `c:1:1: ${NO_CONFIG}`,
      'c:1:1: warning: nonMasqueradeCIDR: unknown key; did you mean "nonMasqueradeCIDRs"? [unknown-key]',
    ]);
  });

  test.each(["", "\n", "# nothing\n", "{}", "null", "~", "---\n", "--- # nothing\n...\n"])(
    "%j still means the defaults",
    async config => {
      expect(await problemsOf(config)).toEqual([]);
    },
  );
});

describe("an invisible or misleading character", () => {
  const NBSP = "a no-break space (U+00A0) instead of a space; replace it with a space";
  test.each([
    ["in the indentation", "nonMasqueradeCIDRs:\n\u00a0\u00a0- 10.0.0.0/8\n", [`c:2:1: ${NBSP}`]],
    [
      "after the dash",
      "nonMasqueradeCIDRs:\n  -\u00a010.0.0.0/8\n",
      [`c:2:3: nonMasqueradeCIDRs: "-\\u{a0}10.0.0.0/8" has ${NBSP}`],
    ],
    ["before a key", "cidrLimit: 5\n\u00a0masqLinkLocal: true\n", [`c:2:1: \\u{a0}masqLinkLocal: ${NBSP}`]],
    ["after the colon", "cidrLimit: 5\nmasqLinkLocal:\u00a0true\n", [`c:2:15: ${NBSP}`]],
    [
      "in a CIDR",
      "nonMasqueradeCIDRs: ['10.0.0.0/8\u200b', 10.0.0.1/8]\n",
      [
        'c:1:22: nonMasqueradeCIDRs[0]: "10.0.0.0/8\\u{200b}" has a zero-width space (U+200B); remove it',
        'c:1:37: nonMasqueradeCIDRs[1]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?',
      ],
    ],
    [
      "a byte order mark in the middle",
      "cidrLimit: 5\n\ufeffmasqLinkLocal: true\n",
      ["c:2:1: \\u{feff}masqLinkLocal: a byte order mark (U+FEFF); remove it"],
    ],
    [
      "in a value",
      "masqLinkLocal: true\u2060\n",
      ['c:1:16: masqLinkLocal: "true\\u{2060}" has a word joiner (U+2060); remove it'],
    ],
    [
      "in an interface name",
      "outputInterfaces: [eth0\u200e]\n",
      ['c:1:20: outputInterfaces[0]: "eth0\\u{200e}" has an invisible character (U+200E); remove it'],
    ],
    [
      "curly quotes",
      "nonMasqueradeCIDRs: [“10.0.0.0/8”]\n",
      [
        'c:1:22: nonMasqueradeCIDRs[0]: "“10.0.0.0/8”" has the character “ (U+201C); replace it with a straight double quote',
      ],
    ],
    [
      "a dash instead of a hyphen",
      "nonMasqueradeCIDRs:\n  – 10.0.0.0/8\n  – 172.16.0.0/12\nmasqLinkLocal: true\n",
      [
        'c:2:3: nonMasqueradeCIDRs: "– 10.0.0.0/8 – 172.16.0.0/12" has the character – (U+2013); replace it with a hyphen',
      ],
    ],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });

  test("is allowed in comments", async () => {
    expect(await problemsOf(`# “a”\u00a0–\n${KEEP}masqLinkLocal: true # \u200b\n`)).toEqual([]);
  });
});

describe("tabs", () => {
  const TAB = "a tab in the indentation; indent with spaces";
  test.each([
    ["in a list", "nonMasqueradeCIDRs:\n\t- 10.0.0.0/8\n\t- 172.16.0.0/12\n", [`c:2:1: ${TAB}`]],
    ["after spaces", "nonMasqueradeCIDRs:\n  \t- 10.0.0.0/8\n", [`c:2:3: ${TAB}`]],
    ["in a mapping", "config:\n\tcidrLimit: 5\n", [`c:2:1: ${TAB}`]],
    ["within a line", "nonMasqueradeCIDRs:\t[10.0.0.0/8]\t# x\nmasqLinkLocal:\ttrue\n", []],
    ["alone", `${KEEP}\t\n`, []],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });
});

describe("a line whose indentation matches no line above is one error", () => {
  const FITS = "which matches no line above; give all entries of a list, and all keys, the same indentation";
  test.each([
    [
      "an entry",
      "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n - 172.16.0.0/12\n",
      `3:2: this line is indented by 1 space`,
    ],
    [
      "between two depths",
      "# ours\nnonMasqueradeCIDRs:\n\n    - 10.0.0.0/8\n  - 10.1.0.0/16\nmasqLinkLocal: true\n",
      "5:3: this line is indented by 2 spaces",
    ],
    [
      "a key further left than the first",
      " nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nmasqLinkLocal: true\n",
      "3:1: this line is indented by 0 spaces",
    ],
  ])("%s", async (_what, config, problem) => {
    expect(await problemsOf(config)).toEqual([`c:${problem}, ${FITS}`]);
  });

  test("other errors are reported as before", async () => {
    const quoted = 'nonMasqueradeCIDRs:\n  - "10.0.0.0/8\n - x"\nmasqLinkLocal: [true\n';
    expect((await problemsOf(quoted)).join()).not.toContain(FITS);
  });
});

describe("an invalid CIDR with a known cause", () => {
  test.each([
    ["10.244.0.0/16,fd00::/64", "is two CIDRs in one entry; write each as a separate entry"],
    ["10.0.0.0/8 172.16.0.0/12; 192.168.0.0/16", "is 3 CIDRs in one entry; write each as a separate entry"],
    ["10.0.0.0/8, 172.16.0.0", "is two CIDRs in one entry; write each as a separate entry"],
    [
      "10.0.0.0/8 - 172.16.0.0/12",
      'is two CIDRs in one entry; start a new line for each, with all "-" in the same column',
    ],
    [
      "fd00::/8 - 10.0.0.0/8 - 172.16.0.0/12",
      'is 3 CIDRs in one entry; start a new line for each, with all "-" in the same column',
    ],
    [`$\{POD_CIDR}`, "contains an unexpanded variable; write the CIDR"],
    ["$POD_CIDR/16", "contains an unexpanded variable; write the CIDR"],
    ["10.0.0.0-10.0.0.255", 'is an address range; did you mean "10.0.0.0/24"?'],
    ["fd00:: - fd00::ff", 'is an address range; did you mean "fd00::/120"?'],
    ["10.0.0.1-10.0.0.255", "is an address range; write it as CIDRs"],
    ["10.0.0.255-10.0.0.0", "is an address range; write it as CIDRs"],
    ["10.0.0.*", 'has a wildcard; did you mean "10.0.0.0/24"?'],
    ["10.*.*.*", 'has a wildcard; did you mean "10.0.0.0/8"?'],
    ["10.0.0.0/255.0.0.0", 'has a netmask instead of a prefix length; did you mean "10.0.0.0/8"?'],
    ["10.0.0.0/255.255.255.255", 'has a netmask instead of a prefix length; did you mean "10.0.0.0/32"?'],
  ])("%s", async (entry, problem) => {
    expect(await problemsOf(`nonMasqueradeCIDRs: ["${entry}"]`)).toEqual([
      `c:1:22: nonMasqueradeCIDRs[0]: "${entry}" ${problem}`,
    ]);
  });
});

describe("an open quote, and a key inside a value, are reported where they are", () => {
  test.each([
    [
      'nonMasqueradeCIDRs:\n  - "10.0.0.0/8\n  - 10.1.0.0/16\n',
      '2:5: the quote " is not closed on this line; add the closing quote',
    ],
    [
      "masqLinkLocal: true # don't\nnonMasqueradeCIDRs: ['10.0.0.0/8', '10.1.0.0/16]\n",
      "2:36: the quote ' is not closed on this line; add the closing quote",
    ],
    [
      "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n    resyncInterval: 60s\n",
      "2:5: a key follows inside this value, because it is indented further; start all keys in the same column",
    ],
  ])("%j", async (config, problem) => {
    expect(await problemsOf(config)).toEqual([`c:${problem}`]);
  });
});

test.each([
  ["10.0.0.0/8, 10.1.0.0/16", "did you mean [10.0.0.0/8, 10.1.0.0/16]?"],
  ["fd00::/8", 'did you mean ["fd00::/8"]?'],
  ["[10.0.0.0/8]", "remove the quotes"],
  ["-10.0.0.0/8 -10.1.0.0/16", 'write a space after each "-"'],
])("a string instead of a list: %s", async (value, remedy) => {
  expect(await problemsOf(`nonMasqueradeCIDRs: "${value}"`)).toEqual([
    `c:1:21: nonMasqueradeCIDRs: expected a list, found "${value}"; ${remedy}`,
  ]);
});

describe("several documents", () => {
  const MORE = 'more than one YAML document; remove one of them and its "---" line';
  test.each([
    ["an empty one at the end", `${KEEP}---\n`, []],
    ["one with a comment at the end", `${KEEP}---\n# end\n`, []],
    ["an empty one at the start", `---\n---\n${KEEP}`, []],
    ["one with a comment at the start", `# ours\n---\n# all\n---\n${KEEP}...\n`, []],
    ["an end mark", `${KEEP}...\n# end\n`, []],
    ["empty ones all around", `---\n\n---\n${KEEP}---\n---\n...\n`, []],
    ["two", `${KEEP}---\nmasqLinkLocal: true\n`, [`c:3:1: ${MORE}`]],
    ["two after an empty one", `---\n---\n${KEEP}---\ncidrLimit: 5\n`, [`c:5:1: ${MORE}`]],
    ["null", `${KEEP}---\nnull\n`, [`c:3:1: ${MORE}`]],
    ["one after an end mark", `${KEEP}...\ncidrLimit: 5\n`, [`c:3:1: ${MORE}`]],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });
});

describe("an interface", () => {
  test.each([
    ['"!eth0@if5"', '"eth0@if5" is an interface name with its peer "if5"; did you mean "eth0"?'],
    ['"!*"', '"*" matches every interface; remove "outputInterfaces"'],
    ['"!!eth0"', '"!eth0" is not an interface name; write a name such as "eth0" or a prefix such as "eth*"'],
    ["eth0@if5", '"eth0@if5" is an interface name with its peer "if5"; did you mean "eth0"?'],
    ["eth0.7@eth0", '"eth0.7@eth0" is an interface name with its peer "eth0"; did you mean "eth0.7"?'],
    ["veth1@NONE", '"veth1@NONE" is an interface name with its peer "NONE"; did you mean "veth1"?'],
  ])("%s", async (entry, problem) => {
    expect(await problemsOf(`outputInterfaces: [${entry}]`)).toEqual([
      `c:1:20: outputInterfaces[0]: ${problem}`,
    ]);
  });

  test("with an unquoted exclamation mark", async () => {
    expect(await problemsOf("outputInterfaces: [!eth0]")).toEqual([
      'c:1:20: a YAML tag, "!eth0"; quote the word that starts with "!", or remove it',
    ]);
  });
});

test.each(["500ms", "0s", "-5m", "999ms", "1ns"])("a resyncInterval of %s counts as 1s", async interval => {
  expect(await problemsOf(`resyncInterval: ${interval}`)).toEqual([
    `c:1:17: warning: resyncInterval: "${interval}" is too short and counts as 1s; write at least 1s [interval-raised]`,
  ]);
});

test("a list without a value is a warning, since it masquerades everything", async () => {
  const line =
    "warning: nonMasqueradeCIDRs: no value, so everything except link-local is masqueraded; list CIDRs, or write [] if this is intended [everything-masqueraded]";
  expect(await problemsOf("nonMasqueradeCIDRs:\n")).toEqual([`c:1:20: ${line}`]);
  expect(await problemsOf("nonMasqueradeCIDRs: ~\n")).toEqual([`c:1:21: ${line}`]);
  expect(await problemsOf("nonMasqueradeCIDRs: []\n")).toEqual([]);
});
