import { expect, test } from "bun:test";
import { BINARY } from "../../lab/agent.ts";
import { colouredDiff } from "../../src/cli/colour.ts";
import { run } from "../../src/system/program.ts";
import { Folder } from "../config/folder.ts";

test("a diff in git's colours", () => {
  expect(colouredDiff("--- a\n+++ b\n@@ -1 +1 @@\n same\n-old\n+new\n")).toBe(
    "\x1b[1m--- a\x1b[0m\n\x1b[1m+++ b\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n same\n\x1b[31m-old\x1b[0m\n\x1b[32m+new\x1b[0m\n",
  );
});

test("colours appear only on a terminal, and not if NO_COLOR is set", async () => {
  await using folder = await Folder.create({ old: "nonMasqueradeCIDRs: []\n", new: "" });
  const diff = `${BINARY} diff --from=${folder.path}/old --to=${folder.path}/new`;
  const terminal = (environment: string) =>
    run(["script", "--quiet", "--return", "--command", `env TERM=xterm ${environment} ${diff}`, "/dev/null"]);
  expect((await terminal("NO_COLOR=")).stdout).toContain("\x1b[32m+");
  expect((await terminal("NO_COLOR=1")).stdout).not.toContain("\x1b[");
  expect((await run(diff.split(" "))).stdout).not.toContain("\x1b[");
});
