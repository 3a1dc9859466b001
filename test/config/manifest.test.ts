import { describe, expect, test } from "bun:test";
import { Folder, problemsOf } from "./folder.ts";

const BAD = '"10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?';
const map = (name: string, data: string) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\ndata:\n${data}`;
const GOOD = map("good", "  config: |\n    cidrLimit: 5\n");
const OTHER = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: ip-masq-agent\n";

describe("positions refer to the manifest", () => {
  test.each([
    ["a literal block", map("a", "  config: |\n    nonMasqueradeCIDRs:\n      - 10.0.0.1/8\n"), "c:8:9"],
    ["a stripped one", map("a", "  config: |-\n    nonMasqueradeCIDRs: [10.0.0.1/8]"), "c:7:26"],
    [
      "one that starts with empty lines",
      map("a", "  config: |\n\n\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
      "c:9:26",
    ],
    [
      "one with explicit indentation",
      map("a", "  config: |2\n     # x\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
      "c:8:26",
    ],
    [
      "CRLF",
      map("a", "  config: |\n    nonMasqueradeCIDRs:\n      - 10.0.0.1/8\n").replaceAll("\n", "\r\n"),
      "c:8:9",
    ],
    [
      "the only key, with any name",
      map("a", "  ip-masq-agent: |\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
      "c:7:26",
    ],
    [
      "the key config among others",
      map("a", "  x: y\n  config: |\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
      "c:8:26",
    ],
    [
      "a second document",
      `${OTHER}---\n${map("a", "  config: |\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n")}`,
      "c:12:26",
    ],
    ["a folded block", map("a", "  config: >\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"), "c:6:11"],
    ["quotes", map("a", '  config: "nonMasqueradeCIDRs: [10.0.0.1/8]\\n"\n'), "c:6:11"],
    [
      "JSON",
      JSON.stringify({
        kind: "ConfigMap",
        metadata: { name: "a" },
        data: { config: "nonMasqueradeCIDRs: [10.0.0.1/8]" },
      }),
      "c:1:62",
    ],
    [
      "a list, as kubectl prints several",
      `kind: List\nitems:\n- kind: ConfigMap\n  metadata: {name: a}\n  data:\n    config: |\n      nonMasqueradeCIDRs: [10.0.0.1/8]\n`,
      "c:7:28",
    ],
  ])("%s", async (_what, manifest, place) => {
    const [first, ...others] = await problemsOf(manifest);
    expect(first).toBe(`${place}: nonMasqueradeCIDRs[0]: ${BAD}`);
    expect(others.filter(it => !it.endsWith("[file-not-read]"))).toEqual([]);
  });
});

describe("which ConfigMap", () => {
  const REMEDY = 'put the config into "data" of a ConfigMap, under the key "config"';
  const two = `${GOOD}---\n${map("bad", "  config: |\n    cidrLimit: x\n")}`;
  test.each([
    ["none", OTHER, undefined, [`c: no ConfigMap in the manifest; ${REMEDY}`]],
    [
      "one with several keys",
      map("a", "  x: y\n  z: y\n"),
      undefined,
      [`c:6:3: no key of the ConfigMap "a" is named like a config: "x", "z"; ${REMEDY}`],
    ],
    [
      "one next to others that do not fit",
      `${OTHER}---\n${GOOD}---\n${map("a", "  x: y\n  z: y\n")}`,
      undefined,
      [],
    ],
    [
      "several",
      two,
      undefined,
      ['c: several ConfigMaps hold a config: "good", "bad"; choose one with --configmap=NAME'],
    ],
    ["the named one", two, "good", []],
    [
      "a named one with an error",
      two,
      "bad",
      ['c:15:16: cidrLimit: expected a number, found "x"; write a positive whole number without quotes'],
    ],
    ["an unknown name", two, "x", ['c: no ConfigMap is named "x"; choose one of "good", "bad"']],
    ["a name without a manifest", "cidrLimit: 5\n", "x", [`c: no ConfigMap in the manifest; ${REMEDY}`]],
    [
      "the one named ip-masq-agent, if several hold a config",
      `${GOOD}---\n${map("ip-masq-agent", "  config: |\n    cidrLimit: x\n")}`,
      undefined,
      ['c:15:16: cidrLimit: expected a number, found "x"; write a positive whole number without quotes'],
    ],
    [
      "the only one with a known key, in a list as kubectl prints it",
      JSON.stringify({
        kind: "List",
        items: [
          { kind: "ConfigMap", metadata: { name: "kube-root-ca.crt" }, data: { "ca.crt": "x" } },
          { kind: "ConfigMap", metadata: { name: "coredns" }, data: { Corefile: ".:53 {\n}\n" } },
          {
            kind: "ConfigMap",
            metadata: { name: "masq" },
            data: { config: "nonMasqueradeCIDRs:\n- 10.0.0.0/8\n" },
          },
        ],
      }),
      undefined,
      [],
    ],
    [
      "a ConfigMapList, whose items have no kind",
      `kind: ConfigMapList\nitems:\n- metadata: {name: a}\n  data: {config: "cidrLimit: 5"}\n`,
      undefined,
      [],
    ],
    [
      "several without a known key",
      `${map("a", "  x: y\n")}---\n${map("b", "  x: y\n")}`,
      undefined,
      [`c: no ConfigMap holds a config: "a", "b"; ${REMEDY}`],
    ],
    [
      "one without data",
      "kind: ConfigMap\nmetadata: {name: a}\n",
      undefined,
      [`c:1:1: the ConfigMap "a" has no "data"; ${REMEDY}`],
    ],
    [
      "one with binary data",
      "kind: ConfigMap\nmetadata: {name: a}\nbinaryData: {config: eA==}\n",
      undefined,
      [`c:1:1: the ConfigMap "a" has no "data", only "binaryData"; ${REMEDY}`],
    ],
    [
      "one with a mapping instead of a string",
      map("a", "  config:\n    cidrLimit: 5\n"),
      undefined,
      [
        'c:7:5: data.config: a mapping, but ConfigMaps hold strings; write "config: |" and indent the config below it',
      ],
    ],
    [
      "a name of two ConfigMaps",
      `${GOOD}---\n${GOOD}`,
      "good",
      ['c: 2 ConfigMaps are named "good"; use a manifest with one of them'],
    ],
  ])("%s", async (_what, manifest, configMap, lines) => {
    expect(await problemsOf(manifest, { configMap })).toEqual(lines);
  });

  test.each(["config", "config.yaml", "config.yml", "config.json", "ip-masq-agent", "ip-masq-agent-config"])(
    "its key %s is read",
    async key => {
      expect(await problemsOf(map("a", `  ${key}: |\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n`))).toEqual([
        `c:7:26: nonMasqueradeCIDRs[0]: ${BAD}`,
      ]);
    },
  );

  test("its only key is read, with a warning if the agent would skip it in a directory", async () => {
    expect(await problemsOf(map("a", "  foo.yaml: |\n    nonMasqueradeCIDRs: [10.0.0.0/8]\n"))).toEqual([
      'c:6:3: warning: data.foo.yaml: the agent does not read this key when the ConfigMap is mounted as a directory; rename the key to "config" [file-not-read]',
    ]);
  });

  test("keys named like configs are merged; others are warnings", async () => {
    const data = "  ip-masq-b: |\n    cidrLimit: 70\n  config: 'cidrLimit: 65'\n  extra: 'cidrLimit: 90'\n";
    await using folder = await Folder.create({ c: map("a", data) });
    expect(await folder.problems("c")).toEqual([
      'c:9:3: warning: data.extra: not read because of the name; rename the key to "config", "config.yaml" or "ip-masq-agent" [file-not-read]',
    ]);
    const loaded = await folder.load("c");
    expect(loaded.ok && loaded.config.cidrLimit?.value).toBe(70);
  });

  test("a config with a nested key or a comment named kind is not a manifest", async () => {
    expect(await problemsOf("cidrLimit: 5 # kind: x\n")).toEqual([]);
    const nested = await problemsOf("cidrLimit: 5\nnotes: {kind: x}\n");
    expect(nested).toEqual([expect.stringContaining("c:2:1: warning: notes: unknown key")]);
  });

  test("a plain config is read as a config", async () => {
    expect(await problemsOf("cidrLimit: 5\n")).toEqual([]);
  });
});

test("the config of the ConfigMap is used", async () => {
  await using folder = await Folder.create({ c: `${OTHER}---\n${GOOD}` });
  const loaded = await folder.load("c");
  expect(loaded.ok && loaded.config.cidrLimit).toEqual({
    value: 5,
    at: { file: `${folder.path}/c`, line: 12, column: 16 },
  });
});
