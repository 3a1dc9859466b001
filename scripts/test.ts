/**
 * `npm test`: lint, types, dead code, then all tests with the built binary and the real kernel. Arguments select files
 * and folders (`npm test -- test/net`); the first argument that starts with a dash and all after it are options of
 * `bun test`.
 *
 * Each file that needs the kernel runs in its own process and namespaces (lab/isolate). Several files run at the same
 * time, and those in `WAITING` one by one beside them; those in `ALONE` and in test/long run one by one at the end.
 * Suites in test/long take minutes and run only if selected (`npm run test:release`). Their `prepare.ts` runs first,
 * outside the namespaces, with network access.
 */
import { existsSync } from "node:fs";
import { open, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { testCounts } from "../test/junit.ts";

/** Files that count lost flows or compare times, which other programs would distort. */
const ALONE = ["test/kernel/lab.test.ts", "test/kernel/load.test.ts", "test/kernel/contested.test.ts"];

/** Files that wait for deadlines and intervals of the agent, and compute for less than half of their time. */
const WAITING = [
  "test/kernel/failover.test.ts",
  "test/deploy/systemd.test.ts",
  "test/kernel/config-file.test.ts",
  "test/kernel/idle.test.ts",
];

/** The slowest of the other files, which start first. */
const LONGEST = [
  "test/kernel/sync.test.ts",
  "test/kernel/pages.test.ts",
  "test/kernel/verdict.test.ts",
  "test/kernel/packets.test.ts",
  "test/kernel/node-lock.test.ts",
  "test/kernel/reload.test.ts",
  "test/kernel/faults.test.ts",
  "test/kernel/kill.test.ts",
  "test/kernel/live.test.ts",
  "test/kernel/monitor.test.ts",
  "test/kernel/memory.test.ts",
];

/**
 * Number of processes, without the one for `WAITING`. Tests wait about as long as they compute, so one more than cores
 * keeps the cores busy.
 */
const AT_ONCE = availableParallelism() + 1;

/** Timeout of tests without their own. Bun's default of 5 s is too short on a busy machine. */
const LIMIT_MS = 30_000;

/** The suite that can test a cluster that exists. */
const CLUSTER = "test/long/cluster/";

const ROOT = join(import.meta.dirname, "..");
const words = process.argv.slice(2);
const dash = words.findIndex(word => word.startsWith("-"));
const [paths, options] = dash < 0 ? [words, []] : [words.slice(0, dash), words.slice(dash)];
const counts = { passed: 0, failed: 0, skipped: 0 };
/** The checks and files that failed, for the end of a long output. */
const failed: string[] = [];

/** The process groups of all programs that run now. */
const groups = new Set<number>();
for (const [signal, number] of [
  ["SIGHUP", 1],
  ["SIGINT", 2],
  ["SIGTERM", 15],
] as const) {
  process.on(signal, () => {
    for (const group of groups) process.kill(-group, "SIGKILL");
    process.exit(128 + number);
  });
}

const checks =
  words.length > 0
    ? []
    : [
        check("lint", "biome", "ci", "--error-on-warnings"),
        check("types", "tsc", "--project", "."),
        check("dead code", "knip"),
      ];
await Promise.all([...checks, check("build", "bun", "scripts/build.ts"), fetchTools()]);
for (const file of paths.map(it => join(it, "prepare.ts"))) {
  if (existsSync(file)) await check("prepare", "bun", file);
}
await tests();
if (failed.length > 0) process.stdout.write(`failed: ${failed.join(", ")}\n`);
process.stdout.write(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped\n`);
process.exitCode = counts.failed > 0 ? 1 : 0;

/** Runs a program of node_modules/.bin as a check. */
async function check(name: string, ...argv: string[]): Promise<void> {
  const { exitCode, output, seconds } = await ended(argv);
  const ok = exitCode === 0;
  counts[ok ? "passed" : "failed"]++;
  if (!ok) failed.push(name);
  process.stdout.write(`${output}${name}: ${ok ? "passed" : "failed"} (${seconds} s)\n`);
}

/** Downloads tools for the kernel tests. Tests whose tools are missing report it themselves. */
async function fetchTools(): Promise<void> {
  if (process.platform === "linux")
    process.stdout.write((await ended(["bun", "test/debian/fetch.ts"])).output);
}

/** Files that run in one process. */
type Job = readonly string[];

async function tests(): Promise<void> {
  const files = await testFiles();
  if (files.length === 0) {
    counts.failed++;
    process.stdout.write(`no test files in ${paths.join(", ")}\n`);
    return;
  }
  if (options.length > 0) return runJob(files);
  const alone = files.filter(file => ALONE.includes(file) || file.startsWith("test/long/"));
  const waiting = WAITING.filter(file => files.includes(file));
  const others = jobs(files.filter(file => ![...alone, ...waiting].includes(file)));
  await Promise.all([
    inTurn(waiting.map(file => [file])),
    ...Array.from({ length: AT_ONCE }, () => inTurn(others)),
  ]);
  await inTurn(alone.map(file => [file]));
}

/** Runs jobs until the queue is empty. Several calls can share a queue. */
async function inTurn(queue: Job[]): Promise<void> {
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) await runJob(job);
}

/** The test files under the given paths; without paths, all except test/long. */
async function testFiles(): Promise<string[]> {
  const all = await Array.fromAsync(new Bun.Glob("test/**/*.test.ts").scan({ cwd: ROOT }));
  const selected = paths.map(path => join(path, "."));
  const found = all.filter(file =>
    paths.length === 0
      ? !file.startsWith("test/long/")
      : selected.some(path => file === path || file.startsWith(join(path, "/"))),
  );
  return found.sort();
}

/**
 * The slowest first. All files that need no kernel are one job, because starting takes most of their time; together
 * they are the longest.
 */
function jobs(files: readonly string[]): Job[] {
  const single = (file: string) => LONGEST.includes(file) || /^test\/(kernel|deploy)\//.test(file);
  const rank = (file: string) => (LONGEST.indexOf(file) + LONGEST.length + 1) % (LONGEST.length + 1);
  const quick = files.filter(file => !single(file));
  const separate = files.filter(single).sort((a, b) => rank(a) - rank(b));
  return [...(quick.length > 0 ? [quick] : []), ...separate.map(file => [file])];
}

/** Runs a job, prints its output, and counts its tests. */
async function runJob(files: Job): Promise<void> {
  const report = join(tmpdir(), `ipmasq-test-${crypto.randomUUID()}.xml`);
  // An existing cluster is not reachable from other namespaces. Its tests only run kubectl and helm.
  const isRemote = process.env.IPMASQ_IMAGE !== undefined && files.every(it => it.startsWith(CLUSTER));
  const isolated =
    process.platform === "linux" && !isRemote ? ["setpriv", "--pdeathsig=KILL", "lab/isolate"] : [];
  const { exitCode, output, seconds } = await ended([
    ...isolated,
    ...["bun", "test", `--timeout=${LIMIT_MS}`, "--reporter=junit", `--reporter-outfile=${report}`],
    ...options,
    ...files.map(file => `./${file}`),
  ]);
  const summary = await readFile(report, "utf8").catch(() => "");
  await rm(report, { force: true });
  // An option can be a pattern that selects no test of a file.
  const ran = testCounts(summary, exitCode, options.length > 0 ? [] : files);
  counts.passed += ran.passed;
  counts.failed += ran.failed;
  counts.skipped += ran.skipped;
  const name = files.length === 1 ? `${files[0]}` : `${files.length} files`;
  if (ran.failed > 0) failed.push(name);
  process.stdout.write(
    `${output}${name}: ${ran.failed > 0 ? `${ran.failed} failed` : "passed"} (${seconds} s)\n`,
  );
}

interface Ended {
  readonly exitCode: number;
  /** Standard output and standard error. */
  readonly output: string;
  /** Duration, formatted. */
  readonly seconds: string;
}

/**
 * Runs a program with node_modules/.bin in PATH, and returns its output. The program gets its own process group, so
 * that a signal to the whole group does not reach this process or other programs.
 */
async function ended(argv: readonly string[]): Promise<Ended> {
  const began = performance.now();
  const printed = join(tmpdir(), `ipmasq-test-${crypto.randomUUID()}.log`);
  const file = await open(printed, "a");
  try {
    const child = Bun.spawn([...argv], {
      cwd: ROOT,
      detached: true,
      stdio: ["ignore", file.fd, file.fd],
      env: { ...process.env, PATH: `${ROOT}/node_modules/.bin:${process.env.PATH}` },
    });
    groups.add(child.pid);
    const exitCode = await child.exited;
    groups.delete(child.pid);
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    return { exitCode, output: await readFile(printed, "utf8"), seconds };
  } finally {
    await file.close();
    await rm(printed);
  }
}
