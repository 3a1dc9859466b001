import * as v from "valibot";
import { VERDICTS } from "../net/verdict.ts";
import { printable } from "../system/printable.ts";
import type { Explanation, Question } from "./explain.ts";
import type { ExpectedVerdict, TestFile } from "./test-file.ts";

const Result = v.object({
  file: v.string(),
  line: v.number(),
  column: v.number(),
  name: v.string(),
  source: v.optional(v.string()),
  destination: v.string(),
  out: v.optional(v.string()),
  mark: v.optional(v.number()),
  passed: v.boolean(),
  expected: v.object({ verdict: v.picklist(VERDICTS), cidr: v.optional(v.string()) }),
  verdict: v.picklist([...VERDICTS, "unknown"]),
  cidr: v.pipe(v.optional(v.string()), v.description("the CIDR that decided")),
  reason: v.pipe(v.string(), v.description("a sentence, or with --live the deciding rule")),
  conflicts: v.pipe(
    v.array(v.string()),
    v.description("with --live: foreign rules that may decide otherwise"),
  ),
});
type Result = v.InferOutput<typeof Result>;

/** The output of `test --output=json`. Keys stay from version to version. */
export const TestRun = v.object({
  passed: v.pipe(v.number(), v.description("connections with the expected verdict")),
  failed: v.number(),
  results: v.pipe(v.array(Result), v.description("one for each connection")),
});
export type TestRun = v.InferOutput<typeof TestRun>;

/** Compares the verdicts on the connections of test files with the expected verdicts. */
export function runTests(
  files: readonly { readonly file: TestFile; readonly explain: (it: Question) => Explanation }[],
): TestRun {
  const results = files.flatMap(({ file, explain }) =>
    file.tests.flatMap(test => test.connections.map(it => resultOf(file, test, it, explain(it)))),
  );
  const passed = results.filter(it => it.passed).length;
  return { passed, failed: results.length - passed, results };
}

function resultOf(
  { path, tests }: TestFile,
  test: ExpectedVerdict,
  { source, destination, out, mark }: ExpectedVerdict["connections"][number],
  explained: Explanation,
): Result {
  const { live } = explained;
  const { verdict, cidr } = live ?? explained;
  const conflicts = live?.conflicts ?? [];
  const isExpected =
    verdict === test.verdict &&
    (test.cidr === undefined || test.cidr.text === cidr) &&
    conflicts.length === 0;
  return {
    file: path,
    line: test.line,
    column: test.column,
    name: test.name ?? `tests[${tests.indexOf(test)}]`,
    ...(source && { source: source.text }),
    destination: destination.text,
    ...(out !== undefined && { out }),
    ...(mark !== undefined && { mark }),
    passed: isExpected,
    expected: { verdict: test.verdict, ...(test.cidr && { cidr: test.cidr.text }) },
    verdict,
    ...(cidr !== undefined && { cidr }),
    reason: live ? (live.rule ?? "no rule of ipmasq matches it") : explained.reason,
    conflicts,
  };
}

/** Returns the failures of a run, one per line with its place, and the number of tests. */
export function testRunText({ passed, failed, results }: TestRun): string[] {
  const failures = results
    .filter(it => !it.passed)
    .map(it => `${it.file}:${it.line}:${it.column}: ${it.name}: ${failureText(it)}`);
  const total = passed + failed;
  return [
    ...failures,
    `${passed} of ${total} ${total === 1 ? "connection has" : "connections have"} the expected verdict`,
  ];
}

function failureText(it: Result): string {
  const { expected } = it;
  const by = (cidr: string | undefined) =>
    cidr === undefined || expected.cidr === undefined ? "" : ` by ${cidr}`;
  const got =
    it.verdict === expected.verdict && it.cidr === undefined && expected.cidr !== undefined
      ? " by no CIDR"
      : by(it.cidr);
  const but = it.conflicts.map(conflict => `; but ${conflict} may decide`).join("");
  return `${partiesOf(it)}: expected ${expected.verdict}${by(expected.cidr)}, got ${it.verdict}${got}: ${it.reason}${but}`;
}

function partiesOf({ source, destination, out }: Result): string {
  const parties = source === undefined ? destination : `${source} to ${destination}`;
  return out === undefined ? parties : `${parties} by ${out}`;
}

/** Returns a run in JUnit's format, as CI systems read it: a test case for each connection. */
export function testRunJunit({ passed, failed, results }: TestRun): string {
  const cases = results.map(it => {
    const place = attributes({
      name: `${it.name}: ${partiesOf(it)}`,
      classname: it.file,
      file: it.file,
      line: it.line,
    });
    if (it.passed) return `    <testcase${place}/>`;
    const failure = failureText(it);
    return `    <testcase${place}>\n      <failure${attributes({ message: failure })}>${escaped(`${it.file}:${it.line}:${it.column}: ${failure}`)}</failure>\n    </testcase>`;
  });
  const counts = attributes({ name: "ipmasq test", tests: passed + failed, failures: failed });
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${counts}>`,
    `  <testsuite${counts}>`,
    ...cases,
    "  </testsuite>",
    "</testsuites>",
  ].join("\n");
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${escaped(`${value}`)}"`)
    .join("");
}

/** Text for XML. XML 1.0 has no form for other control characters. */
function escaped(text: string): string {
  return printable(text).replace(/[&<>"]/g, it => `&#${it.charCodeAt(0)};`);
}
