import { expect, test } from "bun:test";
import { SyncQueue } from "../../src/agent/sync-queue.ts";

const LONG = 60_000;

test("triggers that came meanwhile are one, with the last who is known", async () => {
  const queue = new SyncQueue();
  queue.push("kernel", "nft (pid 7)");
  queue.push("config");
  queue.push("kernel");
  queue.push("kernel", "firewalld (pid 8)");
  expect(await queue.next(LONG, 0)).toEqual({ triggers: ["kernel", "config"], by: "firewalld (pid 8)" });
  queue.push("signal");
  expect(await queue.next(LONG, 0)).toEqual({ triggers: ["signal"], by: undefined });
});

test("one that comes later ends the wait", async () => {
  const queue = new SyncQueue();
  const next = queue.next(LONG, LONG);
  queue.push("config");
  expect(await next).toEqual({ triggers: ["config"], by: undefined });
});

test("none that comes is the interval", async () => {
  expect(await new SyncQueue().next(1, 0)).toEqual({ triggers: ["interval"], by: undefined });
});

test("changes of the kernel are held back, and come with whatever else comes", async () => {
  const queue = new SyncQueue();
  queue.push("kernel");
  const began = performance.now();
  expect((await queue.next(LONG, 50)).triggers).toEqual(["kernel"]);
  expect(performance.now() - began).toBeGreaterThanOrEqual(49);
  queue.push("kernel");
  const next = queue.next(LONG, LONG);
  queue.push("signal");
  expect((await next).triggers).toEqual(["kernel", "signal"]);
});
