/** How many tests a JUnit report of `bun test` tells of; undefined if it is none. */
export function testCounts(report: string): { all: number; failed: number; skipped: number } | undefined {
  const found = /<testsuites [^>]*?tests="(\d+)"[^>]*?failures="(\d+)"[^>]*?skipped="(\d+)"/.exec(report);
  if (found === null) return undefined;
  const [all = 0, failed = 0, skipped = 0] = found.slice(1).map(Number);
  return { all, failed, skipped };
}
