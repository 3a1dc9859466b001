import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeLock, StandbyError } from "../../src/agent/node-lock.ts";
import { createLog } from "../../src/observe/log.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "node-lock-"));
});
afterEach(() => rm(folder, { recursive: true }));

test("why there is no node lock is logged once, and again when the reason changes or returns", async () => {
  const directory = join(folder, "run");
  const errors: unknown[] = [];
  const log = createLog("warn", "json", line => errors.push(JSON.parse(line).error));
  const lock = new NodeLock(directory, log, {});
  const take = async (times: number) => {
    for (let i = 0; i < times; i++) await lock.take();
    expect(lock.isActive).toBe(true);
  };
  await writeFile(directory, "");
  await take(2);
  await rm(directory);
  await mkdir(directory);
  await chmod(directory, 0o777);
  await take(2);
  await chmod(directory, 0o700);
  await take(2);
  await rm(directory, { recursive: true });
  await mkdir(directory);
  await chmod(directory, 0o777);
  await take(2);
  expect(errors).toEqual(["it is not a directory", "others can write to it", "others can write to it"]);
  lock.release();
});

test("a standby agent whose sync takes the lock before a poll does reports it once, before the sync continues", async () => {
  const directory = join(folder, "run");
  const seen: string[] = [];
  const log = createLog("info", "json", line => seen.push(JSON.parse(line).message));
  const [first, second] = [new NodeLock(directory, log, {}), new NodeLock(directory, log, {})];
  second.onFree = () => seen.push("free");
  try {
    await first.take();
    expect(await second.take().catch(error => error)).toBeInstanceOf(StandbyError);
    first.release();
    await second.take();
    seen.push("sync continues");
    await Bun.sleep(700); // a poll that stayed would come after 500 ms
    expect(seen).toEqual(["the other agent ended; this agent is active now", "free", "sync continues"]);
  } finally {
    first.release();
    second.release();
  }
});
