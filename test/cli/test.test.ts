import { expect, test } from "bun:test";
import { join } from "node:path";
import { ipmasq } from "../binary.ts";
import { Folder } from "../config/folder.ts";

const ROOT = join(import.meta.dir, "../..");
const CONFIG =
  "nonMasqueradeCIDRs: [10.0.0.0/8]\nsourceCIDRs: [10.244.0.0/16]\nnonMasqueradeMarks: [0x200/0x200]\n";
const TESTS = `config: config.yaml
tests:
  - name: kept & "quoted"
    source: [10.244.1.2, 10.244.1.3]
    destination: 10.1.2.3
    verdict: masquerade
  - destination: 203.0.113.7
    out: eth0
    verdict: masquerade
  - destination: 203.0.113.7
    mark: 0x200
    verdict: keep
`;

test("the example passes", async () => {
  const { stdout, stderr, exitCode } = await ipmasq([
    "test",
    join(ROOT, "deploy/tests/ip-masq-agent.test.yaml"),
  ]);
  expect({ stdout, stderr, exitCode }).toEqual({
    stdout: "7 of 7 connections have the expected verdict\n",
    stderr: "",
    exitCode: 0,
  });
});

test("each connection whose verdict differs is a failure, with its place", async () => {
  await using folder = await Folder.create({ "config.yaml": CONFIG, "tests.yaml": TESTS });
  const path = `${folder.path}/tests.yaml`;
  const { stdout, exitCode } = await ipmasq(["test", path]);
  const reason = `10.1.2.3 is in the non-masquerade CIDR 10.0.0.0/8 (${folder.path}/config.yaml:1)`;
  expect(stdout.split("\n")).toEqual([
    ...["10.244.1.2", "10.244.1.3"].map(
      source =>
        `${path}:3:5: kept & "quoted": ${source} to 10.1.2.3: expected masquerade, got keep: ${reason}`,
    ),
    "2 of 4 connections have the expected verdict",
    "",
  ]);
  expect(exitCode).toBe(1);
});

test("as JUnit's XML and as JSON", async () => {
  await using folder = await Folder.create({ "config.yaml": CONFIG, "tests.yaml": TESTS });
  const path = `${folder.path}/tests.yaml`;
  const { stdout, exitCode } = await ipmasq(["test", "-o", "junit", path]);
  expect(exitCode).toBe(1);
  expect(stdout).toStartWith(
    '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="ipmasq test" tests="4" failures="2">',
  );
  expect(stdout).toContain('<testcase name="kept &#38; &#34;quoted&#34;: 10.244.1.2 to 10.1.2.3"');
  expect(stdout.match(/<failure /g)).toHaveLength(2);
  expect(stdout).toContain('<testcase name="tests[1]: 203.0.113.7 by eth0"');
  const json = JSON.parse((await ipmasq(["test", "--output=json", path])).stdout);
  expect(json).toMatchObject({ passed: 2, failed: 2 });
  expect(json.results[3]).toEqual({
    file: path,
    line: 10,
    column: 5,
    name: "tests[2]",
    destination: "203.0.113.7",
    mark: 0x200,
    passed: true,
    expected: { verdict: "keep" },
    verdict: "keep",
    reason: "its packets have the mark 0x200/0x200",
    conflicts: [],
  });
});

test("the deciding CIDR must be the expected one", async () => {
  const tests =
    "tests:\n- {destination: 10.1.2.3, verdict: keep, cidr: 10.1.0.0/16}\n- {destination: 8.8.8.8, verdict: masquerade, cidr: 8.0.0.0/8}\n";
  await using folder = await Folder.create({ "config.yaml": CONFIG, "tests.yaml": tests });
  const { stdout, exitCode } = await ipmasq([
    "test",
    `--config=${folder.path}/config.yaml`,
    `${folder.path}/tests.yaml`,
  ]);
  expect(stdout).toContain("expected keep by 10.1.0.0/16, got keep by 10.0.0.0/8: 10.1.2.3 is in");
  expect(stdout).toContain("expected masquerade by 8.0.0.0/8, got masquerade by no CIDR: 8.8.8.8 is not in");
  expect(exitCode).toBe(1);
});

test.each<[string, string, number, string]>([
  [
    "a config with an error",
    "config: bad.yaml\ntests: [{destination: 10.1.2.3, verdict: keep}]",
    2,
    "host bits",
  ],
  [
    "a missing config",
    "config: none.yaml\ntests: [{destination: 10.1.2.3, verdict: keep}]",
    2,
    "does not exist",
  ],
  [
    "no config",
    "tests: [{destination: 10.1.2.3, verdict: keep}]",
    64,
    'does not name a config; add the key "config"',
  ],
  ["no test", "config: config.yaml\ntests: []", 2, "add a test"],
])("%s is not a passed test", async (_, tests, exitCode, message) => {
  const files = {
    "config.yaml": CONFIG,
    "bad.yaml": "nonMasqueradeCIDRs: [10.0.0.1/8]",
    "tests.yaml": tests,
  };
  await using folder = await Folder.create(files);
  const result = await ipmasq(["test", `${folder.path}/tests.yaml`]);
  expect(result).toMatchObject({ exitCode, stdout: "" });
  expect(result.stderr).toContain(message);
});
