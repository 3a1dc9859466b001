import { afterEach, expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { ConflictReporter } from "../../src/conflicts/reporter.ts";
import { createLog } from "../../src/observe/log.ts";
import { agentState } from "../observe/agent-states.ts";
import { policy } from "../policies.ts";

afterEach(() => output(["nft", "flush", "ruleset"]));

const THEIRS = "add table ip theirs; add chain ip theirs c { type nat hook postrouting priority 90; }";

function watched(waits = { settled: 20, between: 300 }) {
  const state = agentState();
  state.policy = policy();
  const lines: string[] = [];
  const log = createLog("info", "text", line => lines.push(line));
  return { state, lines, reporter: new ConflictReporter(state, log, waits) };
}

test("each conflict is logged once, and at most five at a time", async () => {
  const { state, lines, reporter } = watched();
  await reporter.look();
  expect([state.conflicts.length, lines.length]).toEqual([0, 0]);
  await output(["nft", `${THEIRS}; add rule ip theirs c ip daddr 10.1.0.0/16 masquerade`]);
  for (let i = 0; i < 3; i++) await reporter.look();
  expect([state.conflicts.length, lines.length]).toEqual([1, 1]);
  const more = Array.from(
    { length: 50 },
    (_, i) => `add rule ip theirs c ip daddr 10.2.${i}.0/24 masquerade`,
  );
  await output(["nft", more.join("; ")]);
  await reporter.look();
  expect([state.conflicts.length, lines.length]).toEqual([51, 1 + 5 + 1]);
  expect(lines.at(-1)).toContain("more foreign rules conflict with the policy; see ipmasq status more=45");
});

test("a burst of changes leads to one look", async () => {
  const { state, reporter } = watched({ settled: 20, between: 1500 });
  await output(["nft", `${THEIRS}; add rule ip theirs c ip daddr 10.1.0.0/16 masquerade`]);
  for (let i = 0; i < 100; i++) reporter.soon();
  while (state.conflicts.length === 0) await Bun.sleep(5);
  await output(["nft", "delete table ip theirs"]);
  reporter.soon();
  await Bun.sleep(100);
  expect(state.conflicts).toHaveLength(1); // the next look is not due yet
  while (state.conflicts.length > 0) await Bun.sleep(5);
});

test("only changes of visited chains lead to a look", async () => {
  const { state, reporter } = watched({ settled: 0, between: 0 });
  await output(["nft", `${THEIRS}; add chain ip theirs inner; add rule ip theirs c jump inner`]);
  await reporter.look();
  await output(["nft", "add rule ip theirs inner ip daddr 10.1.0.0/16 masquerade"]);
  for (const where of ["ip nat KUBE-SVC-0123", "ip nat", "ip6 theirs c", "ip theirs other", "ip thei"])
    reporter.soon(where);
  await Bun.sleep(100);
  expect(state.conflicts).toHaveLength(0);
  for (const where of ["ip theirs inner", "ip theirs c", "ip theirs", undefined]) {
    state.conflicts = [];
    reporter.soon(where);
    while (state.conflicts.length === 0) await Bun.sleep(5);
    expect(state.conflicts).toHaveLength(1);
  }
});

test("a second caller joins the current look", async () => {
  const { state, reporter } = watched();
  await output(["nft", `${THEIRS}; add rule ip theirs c ip daddr 10.1.0.0/16 masquerade`]);
  expect(reporter.look()).toBe(reporter.look());
  await reporter.look();
  expect(state.conflicts).toHaveLength(1);
});

test("a failure to read is logged once", async () => {
  const { state, lines, reporter } = watched();
  const path = process.env.PATH;
  const folder = await mkdtemp(join(tmpdir(), "ipmasq-nft-"));
  await writeFile(join(folder, "nft"), "#!/bin/sh\nexit 139\n", { mode: 0o755 });
  process.env.PATH = `${folder}:${path}`;
  try {
    for (let i = 0; i < 2; i++) await reporter.look();
  } finally {
    process.env.PATH = path;
    await rm(folder, { recursive: true });
  }
  expect(state.conflicts).toEqual([]);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain("cannot read some foreign rules; conflicts may be missing");
});
