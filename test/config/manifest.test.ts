import { describe, expect, test } from "bun:test";
import { Folder, problemsOf } from "./folder.ts";

const BAD = '"10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?';
const map = (name: string, data: string) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\ndata:\n${data}`;
const GOOD = map("good", "  config: |\n    cidrLimit: 5\n");
const OTHER = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: ip-masq-agent\n";

describe("positions are those of the manifest", () => {
  test.each([
    ["a literal block", map("a", "  config: |\n    nonMasqueradeCIDRs:\n      - 10.0.0.1/8\n"), "c:8:9"],
    ["one that is stripped", map("a", "  config: |-\n    nonMasqueradeCIDRs: [10.0.0.1/8]"), "c:7:26"],
    [
      "one that begins with empty lines",
      map("a", "  config: |\n\n\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
      "c:9:26",
    ],
    [
      "one with its indentation stated",
      map("a", "  config: |2\n     # x\n    nonMasqueradeCIDRs: [10.0.0.1/8]\n"),
      "c:8:26",
    ],
    [
      "CRLF",
      map("a", "  config: |\n    nonMasqueradeCIDRs:\n      - 10.0.0.1/8\n").replaceAll("\n", "\r\n"),
      "c:8:9",
    ],
    [
      "the only key, whatever it is called",
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
    expect(await problemsOf(manifest)).toEqual([`${place}: nonMasqueradeCIDRs[0]: ${BAD}`]);
  });
});

describe("which ConfigMap", () => {
  const REMEDY = 'put the config under "data", with the key "config"';
  const two = `${GOOD}---\n${map("bad", "  config: |\n    cidrLimit: x\n")}`;
  test.each([
    ["none", OTHER, undefined, [`c: no ConfigMap holds a config; ${REMEDY}`]],
    [
      "one with several keys",
      map("a", "  x: y\n  z: y\n"),
      undefined,
      [`c: no ConfigMap holds a config; ${REMEDY}`],
    ],
    [
      "one beside others that do not fit",
      `${OTHER}---\n${GOOD}---\n${map("a", "  x: y\n  z: y\n")}`,
      undefined,
      [],
    ],
    [
      "several",
      two,
      undefined,
      ['c: several ConfigMaps hold a config: "good", "bad"; choose one by --configmap=NAME'],
    ],
    ["the one that is named", two, "good", []],
    [
      "a wrong one that is named",
      two,
      "bad",
      ['c:15:16: cidrLimit: expected a number, found "x"; write a whole number of 1 or more, without quotes'],
    ],
    ["a name that none has", two, "x", [`c: no ConfigMap named "x" holds a config; ${REMEDY}`]],
    [
      "a name where there is no manifest",
      "cidrLimit: 5\n",
      "x",
      [`c: no ConfigMap named "x" holds a config; ${REMEDY}`],
    ],
    [
      "a name that two have",
      `${GOOD}---\n${GOOD}`,
      "good",
      ['c: 2 ConfigMaps are named "good"; give a manifest with one of them'],
    ],
  ])("%s", async (_what, manifest, configMap, lines) => {
    expect(await problemsOf(manifest, { configMap })).toEqual(lines);
  });

  test("a config that is no manifest is read as ever", async () => {
    expect(await problemsOf("cidrLimit: 5\n")).toEqual([]);
  });
});

test("the config is that of the ConfigMap", async () => {
  await using folder = await Folder.create({ c: `${OTHER}---\n${GOOD}` });
  const loaded = await folder.load("c");
  expect(loaded.ok && loaded.config.cidrLimit).toEqual({
    value: 5,
    at: { file: `${folder.path}/c`, line: 12, column: 16 },
  });
});
