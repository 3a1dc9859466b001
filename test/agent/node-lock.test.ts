import { afterEach, beforeEach, expect, test } from "bun:test";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeLock } from "../../src/agent/node-lock.ts";
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
