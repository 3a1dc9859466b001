import { expect, test } from "bun:test";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { manPage } from "../../scripts/man.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { AGENT_FLAGS } from "../../src/cli/flags.ts";
import { run } from "../../src/system/program.ts";
import { programTest } from "../programs.ts";

const DOCS = join(import.meta.dir, "../../docs");

test("docs/ipmasq.8 matches the code: npm run docs", async () => {
  expect(await Bun.file(join(DOCS, "ipmasq.8")).text()).toBe(manPage());
});

await programTest("shells", "man shows every command and flag, without a warning", async ({ command }) => {
  const man = ["env", "MANWIDTH=80", "man", "--warnings", "-l", join(DOCS, "ipmasq.8")];
  const { exitCode, stdout, stderr } = await run(command(man, DOCS));
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  for (const { name, flags } of COMMANDS) {
    expect(stdout).toMatch(new RegExp(`^ {3}${name}\\b`, "m"));
    for (const flag of Object.keys(flags)) expect(stdout).toContain(`--${flag}`);
  }
  for (const flag of Object.keys(AGENT_FLAGS))
    expect(stdout).toMatch(new RegExp(`^ {7}(-c, )?--${flag}\\b`, "m"));
  const name = await output(command(["lexgrog", join(DOCS, "ipmasq.8")], DOCS));
  expect(name).toContain("ipmasq - decide which connections leave a node with its address");
});
