import { expect, test } from "bun:test";
import { join } from "node:path";
import { BUN_VERSION } from "../scripts/runtimes.ts";

const BUILD = ["bun", join(import.meta.dir, "../scripts/build.ts")];

test.each([
  ["--al", ["--al"]],
  ["all", ["all"]],
  ["-x", ["--all", "-x"]],
])("the build rejects the unknown argument %s", async (unknown, argv) => {
  const build = Bun.spawn([...BUILD, ...argv], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([build.stdout.text(), build.stderr.text()]);
  expect({ exitCode: await build.exited, stdout, stderr }).toEqual({
    exitCode: 64,
    stdout: "",
    stderr: `build: unknown argument "${unknown}"; write --binaries or --all\n`,
  });
});

test("Bun, package-lock.json and package.json have the same version of Bun", async () => {
  const { devDependencies } = await Bun.file(join(import.meta.dir, "../package.json")).json();
  expect([Bun.version, devDependencies.bun]).toEqual([BUN_VERSION, BUN_VERSION]);
});
