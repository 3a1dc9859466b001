/**
 * `npm test`: lint, types, dead code, then all tests against the built binary and the real kernel, in
 * namespaces of their own. With arguments (`npm test -- test/net`) only the tests in those files.
 *
 * What takes minutes lies in test/long and is run only when it is named (`npm run test:release`). Such a suite may
 * have a `prepare.ts`, which runs before, outside of the namespaces, where there is a network.
 */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testCounts } from "../lab/junit.ts";

const files = process.argv.slice(2);
const counts = { passed: 0, failed: 0, skipped: 0 };

if (files.length === 0) {
  await check("lint", "biome", "ci", "--error-on-warnings");
  await check("types", "tsc", "--project", ".");
  await check("dead code", "knip");
}
await check("build", "bun", "scripts/build.ts");
await fetchTools();
for (const file of files.map(it => join(it, "prepare.ts"))) {
  if (existsSync(file)) await check("prepare", "bun", file);
}
await tests();
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = counts.failed > 0 ? 1 : 0;

/** Runs a program of node_modules/.bin as one check. */
async function check(name: string, ...argv: string[]): Promise<void> {
  const began = performance.now();
  const ok = (await exitCode(argv)) === 0;
  counts[ok ? "passed" : "failed"]++;
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  process.stdout.write(`${name}: ${ok ? "passed" : "failed"} (${seconds} s)\n`);
}

/** For the kernel tests, while there is a network. What cannot be had is their business. */
async function fetchTools(): Promise<void> {
  if (process.platform === "linux") await exitCode(["bun", "lab/fetch.ts"]);
}

async function tests(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "ipmasq-test-"));
  const report = join(folder, "junit.xml");
  const isolated = process.platform === "linux" ? ["lab/isolate"] : [];
  const code = await exitCode([
    ...isolated,
    "bun",
    "test",
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...(files.length > 0 ? files : ["--path-ignore-patterns=test/long/**"]),
  ]);
  const summary = await readFile(report, "utf8").catch(() => "");
  await rm(folder, { recursive: true });
  const { all, failed: failures, skipped } = testCounts(summary) ?? { all: 0, failed: 0, skipped: 0 };
  counts.passed += all - failures - skipped;
  counts.skipped += skipped;
  // A run that broke off has no report, or one without a failure.
  counts.failed += code === 0 ? failures : Math.max(failures, 1);
}

async function exitCode(argv: readonly string[]): Promise<number> {
  const child = Bun.spawn([...argv], {
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, PATH: `${import.meta.dir}/../node_modules/.bin:${process.env.PATH}` },
  });
  return child.exited;
}
