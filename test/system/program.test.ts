import { expect, test } from "bun:test";
import { type FailureKind, failureKind, run } from "../../src/system/program.ts";

const sh = (script: string, deadline?: number) => run(["sh", "-c", script], { deadline });
const kindOf = (ending: Promise<unknown>) => ending.then(() => undefined, failureKind);

test.each([
  ["exit 3", { exitCode: 3, stdout: "", stderr: "" }],
  ["echo out; echo err >&2", { exitCode: 0, stdout: "out\n", stderr: "err\n" }],
])("returns exit code and output: %s", async (script, ended) => {
  expect(await sh(script)).toEqual(ended);
});

test("passes input, and sets the C locale", async () => {
  expect(await run(["sh", "-c", "cat; echo $LC_ALL"], { input: "in " })).toMatchObject({ stdout: "in C\n" });
});

test.each<[string, FailureKind]>([
  ["kill -SEGV $$", "crashed"],
  ["kill -ABRT $$", "crashed"],
  ["exit 139", "crashed"],
  ["kill -KILL $$", "exhausted"],
  ["sleep 30", "timed-out"],
  ["sleep 30 & sleep 30", "timed-out"],
  ["yes", "too-large"],
])("reports the kind of a failure: %s", async (script, kind) => {
  expect(await kindOf(sh(script, kind === "timed-out" ? 100 : undefined))).toBe(kind);
});

test.each<[string[], FailureKind]>([
  [["/nonexistent"], "not-found"],
  [["/etc/passwd"], "not-permitted"],
])("reports why a program cannot start: %p", async (argv, kind) => {
  expect(await kindOf(run(argv))).toBe(kind);
});

test.each(["", "setsid "])("does not wait for %sa grandchild that keeps the pipes open", async prefix => {
  const began = performance.now();
  expect(await sh(`${prefix}sleep 30 & echo $!`)).toMatchObject({ exitCode: 0 });
  expect(performance.now() - began).toBeLessThan(10_000);
});

test("kills a program whose output cannot be processed, and throws the error", async () => {
  const receive = () => {
    throw new Error("unexpected line");
  };
  const began = performance.now();
  await expect(run(["sh", "-c", "yes; sleep 30"], { receive })).rejects.toThrow("unexpected line");
  expect(performance.now() - began).toBeLessThan(10_000);
});

test("kills the program's child processes", async () => {
  const pid = Number((await sh("sleep 30 & echo $!")).stdout);
  const state = () => Bun.spawnSync(["ps", "-o", "stat=", "-p", `${pid}`]).stdout.toString();
  while (/^[RSD]/.test(state())) await Bun.sleep(1);
  expect(state()).toMatch(/^(Z.*\n)?$/);
});
