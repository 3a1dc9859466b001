import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Counts, testCounts } from "./junit.ts";

const FILES = {
  good: 'import { test } from "bun:test"; test("a", () => {}); test("b", () => {}); test.skip("c", () => {});',
  bad: 'import { test } from "bun:test"; test("a", () => {}); test("b", () => { throw new Error("b"); });',
  dead: 'import { test } from "bun:test"; test("a", () => {}); test("b", () => process.kill(process.pid, "SIGKILL"));',
  left: 'import { test } from "bun:test"; test("a", () => {}); test("b", () => process.exit(0));',
  broken: 'import { test } from "bun:test"; test("a", () => {}); throw new Error("broken");',
  empty: "",
};

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "ipmasq-junit-"));
  for (const [name, text] of Object.entries(FILES)) await writeFile(join(folder, `${name}.test.ts`), text);
});
afterAll(() => rm(folder, { recursive: true }));

/** A run of bun test with these files. */
async function counts(names: readonly (keyof typeof FILES)[]): Promise<Counts> {
  const report = join(folder, "report.xml");
  await rm(report, { force: true });
  const files = names.map(name => `${name}.test.ts`);
  const argv = ["test", "--reporter=junit", `--reporter-outfile=${report}`, ...files.map(it => `./${it}`)];
  const run = Bun.spawn([process.execPath, ...argv], { cwd: folder, stdio: ["ignore", "ignore", "ignore"] });
  const exitCode = await run.exited;
  return testCounts(await readFile(report, "utf8").catch(() => ""), exitCode, files);
}

test.each<[(keyof typeof FILES)[], number, number, number]>([
  [["good"], 2, 0, 1],
  [["bad"], 1, 1, 0],
  [["good", "bad"], 3, 1, 1],
])("%j: %d passed, %d failed, %d skipped", async (names, passed, failed, skipped) => {
  expect(await counts(names)).toEqual({ passed, failed, skipped });
});

test.each<[(keyof typeof FILES)[]]>([
  [["dead"]],
  [["left"]],
  [["broken"]],
  [["empty"]],
  [["good", "dead"]],
  [["good", "left"]],
  [["good", "broken"]],
  [["good", "empty"]],
])("%j: a file that broke off, or ran no test, is not passed over", async names => {
  expect((await counts(names)).failed).toBeGreaterThan(0);
});
