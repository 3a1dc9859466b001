export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/**
 * Returns how many tests a run of `bun test` passed, failed and skipped.
 *
 * A run that broke off has no report, or one without its failure: it counts as failed once at least. So does each file
 * that it should have run and that has no test in the report.
 *
 * @param report in JUnit's format; empty if there is none
 * @param files that have to be in the report
 */
export function testCounts(report: string, exitCode: number, files: readonly string[]): Counts {
  const found = /<testsuites [^>]*?tests="(\d+)"[^>]*?failures="(\d+)"[^>]*?skipped="(\d+)"/.exec(report);
  const [all = 0, failures = 0, skipped = 0] = (found ?? []).slice(1).map(Number);
  const reported = reportedFiles(report);
  const failed = failures + files.filter(file => !reported.has(file)).length;
  const broken = exitCode !== 0 || found === null;
  return { passed: all - failures - skipped, failed: broken ? Math.max(failed, 1) : failed, skipped };
}

/** The files of which there are tests in a report. */
function reportedFiles(report: string): Set<string> {
  return new Set(Array.from(report.matchAll(/<testsuite [^>]*?file="([^"]+)"/g), ([, file = ""]) => file));
}
