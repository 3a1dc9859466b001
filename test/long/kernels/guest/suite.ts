import { testCounts } from "../../../junit.ts";
import type { Finding } from "./finding.ts";

const REPORT = "/tmp/report.xml";

/** Timeout of tests without their own. A guest is ten times slower than a real machine. */
const LIMIT_MS = 60_000;

/**
 * Runs the tests of a file whose names match a pattern.
 *
 * @param inWords describes the number of passed tests
 * @param least the number of tests that must match, so that a renamed test is noticed
 */
export async function suite(
  file: string,
  pattern: string,
  inWords: (tests: number) => string,
  least: number,
  environment: Readonly<Record<string, string>> = {},
): Promise<Finding> {
  const options = ["--timeout", `${LIMIT_MS}`, "--reporter=junit", `--reporter-outfile=${REPORT}`];
  const child = Bun.spawn(["bun", "test", file, "-t", pattern, ...options], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, LAB_SECONDS: "20", ...environment },
  });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  process.stdout.write(`${stderr}${stdout}`);
  const report = await Bun.file(REPORT)
    .text()
    .catch(() => "");
  const { passed, failed } = testCounts(report, exitCode, []);
  const run = passed + failed;
  const ok = failed === 0 && run >= least;
  const cell = ok ? inWords(run) : `${failed} of ${run} tests fail, at least ${least} must match`;
  return { ok, cell, raw: ok ? { tests: run } : { tests: run, failures: failed, said: stderr.slice(-8000) } };
}
