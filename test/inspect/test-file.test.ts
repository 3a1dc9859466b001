import { expect, test } from "bun:test";
import { formatProblems } from "../../src/config/problem.ts";
import { readTestFile } from "../../src/inspect/test-file.ts";
import { Folder } from "../config/folder.ts";

const TEST = "tests:\n  - destination: 10.1.2.3\n    verdict: keep\n";

test.each<[string, string[]]>([
  ["", ['FILE: the file is empty; add the key "tests"']],
  ["a", ['FILE:1:1: "a" is not valid; write a mapping with the key "tests"']],
  ["config: a", ['FILE:1:1: tests: "tests" is missing; add it']],
  ["tests: {}", ["FILE:1:8: tests: a mapping is not valid; write a list of tests"]],
  ["tests: []", ["FILE:1:8: tests: the list is empty; add a test"]],
  [`test: 1\n${TEST}`, ['FILE:1:1: test: unknown key; did you mean "tests"?']],
  [`${TEST}    cidrs: x`, ['FILE:4:5: tests[0].cidrs: unknown key; did you mean "cidr"?']],
  [
    `${TEST}    tests: x`,
    ["FILE:4:5: tests[0].tests: unknown key; use name, source, destination, out, mark, verdict, cidr"],
  ],
  [`${TEST}    verdict: keep`, ["FILE:4:5: verdict: duplicate key, first on line 3; remove one of them"]],
  ["tests:\n  - verdict: keep", ['FILE:2:5: tests[0].destination: "destination" is missing; add it']],
  [
    "tests:\n  - destination: [10.1.2.3, 10.1.2]\n    verdict: drop",
    [
      'FILE:2:29: tests[0].destination[1]: "10.1.2" is not an IP address; write an IPv4 address such as 10.0.0.0 or an IPv6 address such as fd00::',
      'FILE:3:14: tests[0].verdict: "drop" is not valid; write "keep" or "masquerade"',
    ],
  ],
  [
    `${TEST}    cidr: 10.0.0.1/8`,
    ['FILE:4:11: tests[0].cidr: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?'],
  ],
  [
    `${TEST}    out: eth*`,
    ['FILE:4:10: tests[0].out: "eth*" is a prefix; write the name of one interface, such as "eth0"'],
  ],
  [
    `${TEST}    mark: 0x1ffffffff`,
    ['FILE:4:11: tests[0].mark: "0x1ffffffff" is not the mark of a packet; write a number such as "0x200"'],
  ],
  [
    `${TEST}    source: fd00::1`,
    ["FILE:2:5: source: no source has the family of 10.1.2.3; write addresses of one family"],
  ],
  [`${TEST}---\n${TEST}`, ['FILE:4:1: more than one YAML document; remove one of them and its "---" line']],
  ["tests: [", ["FILE:1:9: "]],
])("%j", async (text, expected) => {
  await using folder = await Folder.create({ "tests.yaml": text });
  const path = `${folder.path}/tests.yaml`;
  const result = await readTestFile(path);
  if ("path" in result) throw new Error("the file was accepted");
  const lines = formatProblems(result).map(line => line.replace(path, "FILE"));
  expect(
    lines.map((line, i) => line.slice(0, expected[i]?.endsWith(": ") ? expected[i]?.length : undefined)),
  ).toEqual(expected);
});

test("each source is combined with the destinations of its family", async () => {
  const text =
    "tests:\n  - source: [10.1.1.1, fd00::1]\n    destination: [10.2.2.2, fd00::2, 10.3.3.3]\n    verdict: keep\n    mark: 512\n";
  await using folder = await Folder.create({ "tests.yaml": text });
  const file = await readTestFile(`${folder.path}/tests.yaml`);
  if (!("path" in file)) throw new Error("the file was rejected");
  const pairs = file.tests[0]?.connections.map(it => `${it.source?.text} ${it.destination.text} ${it.mark}`);
  expect(pairs).toEqual(["10.1.1.1 10.2.2.2 512", "fd00::1 fd00::2 512", "10.1.1.1 10.3.3.3 512"]);
});
