import { afterEach, beforeEach, expect, jest, test } from "bun:test";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { feedWatchdog } from "../../src/agent/watchdog.ts";
import { createLog } from "../../src/observe/log.ts";
import { agentState } from "../observe/agent-states.ts";

const PATH = process.env.PATH;
const UNIT = { WATCHDOG_USEC: "30000000", NOTIFY_SOCKET: "/run/systemd/notify" };

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "watchdog-"));
  process.env.PATH = `${folder}:${PATH}`;
  jest.useFakeTimers();
});
afterEach(async () => {
  jest.useRealTimers();
  process.env.PATH = PATH;
  await rm(folder, { recursive: true });
});

/** Replaces systemd-notify by a script that records its arguments and process, and then runs a command. */
async function replaceNotify(command: string): Promise<void> {
  const program = join(folder, "systemd-notify");
  await writeFile(program, `#!/bin/sh\necho "$@" $$ >>${folder}/calls\n${command}\n`);
  await chmod(program, 0o755);
}

/** The processes that notified the watchdog. */
async function notifiers(): Promise<string[]> {
  const text = await readFile(join(folder, "calls"), "utf8").catch(() => "");
  return [...text.matchAll(/^WATCHDOG=1 (\d+)$/gm)].map(([, pid = ""]) => pid);
}

async function turns(): Promise<void> {
  for (let i = 0; i < 20; i++) await setImmediate();
}

test("a watchdog that cannot be notified is logged once, and again after it worked", async () => {
  const errors: unknown[] = [];
  const log = createLog("info", "json", line => errors.push(JSON.parse(line).error));
  const state = agentState();
  state.interval = 3_600_000;
  const watch = feedWatchdog(state, log, UNIT);
  const failing = "echo no >&2; exit 1";
  for (const [i, command] of [failing, failing, "exit 0", failing].entries()) {
    await replaceNotify(command);
    jest.advanceTimersByTime(10_000);
    let pid: string | undefined;
    while (pid === undefined || existsSync(`/proc/${pid}`)) {
      await setImmediate();
      pid = (await notifiers())[i];
    }
    await turns();
  }
  watch.stop();
  expect(errors).toEqual(["no", "no"]);
});

test("a stalled loop does not notify the watchdog, nor does an agent without one", async () => {
  await replaceNotify("exit 0");
  const log = createLog("info", "text", line => expect(line).toBe(""));
  const stalled = agentState();
  stalled.interval = 1000;
  const watches = [feedWatchdog(stalled, log, UNIT), feedWatchdog(agentState(), log, {})];
  jest.advanceTimersByTime(60_000);
  await turns();
  expect(await notifiers()).toEqual([]);
  for (const watch of watches) watch.stop();
});
