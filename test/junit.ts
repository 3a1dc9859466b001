export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Returns how many tests a run of `bun test` passed, failed and skipped.
 *
 * An aborted run has no report, or one without its failure: it counts as at least one failure. So does each file
 * without a test in the report.
 *
 * @param report the report in JUnit's format; empty if the run wrote none
 * @param files the files that must be in the report
 */
export function testCounts(report: string, exitCode: number, files: readonly string[]): Counts {
  const found = /<testsuites [^>]*?tests="(\d+)"[^>]*?failures="(\d+)"[^>]*?skipped="(\d+)"/.exec(report);
  const [all = 0, failures = 0, skipped = 0] = (found ?? []).slice(1).map(Number);
  const reported = reportedFiles(report);
  const failed = failures + files.filter(file => !reported.has(file)).length;
  const broken = exitCode !== 0 || found === null;
  return { passed: all - failures - skipped, failed: broken ? Math.max(failed, 1) : failed, skipped };
}

/** The files with tests in a report. */
function reportedFiles(report: string): Set<string> {
  return new Set(Array.from(report.matchAll(/<testsuite [^>]*?file="([^"]+)"/g), ([, file = ""]) => file));
}
