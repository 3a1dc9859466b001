import { afterAll, beforeAll, expect, jest, test } from "bun:test";
import { SyncQueue } from "../../src/agent/sync-queue.ts";

beforeAll(() => void jest.useFakeTimers());
afterAll(() => void jest.useRealTimers());

const INTERVAL = 60_000;

test("triggers that arrive before the next sync become one request, with the last known program", async () => {
  const queue = new SyncQueue();
  queue.push("kernel", "nft (pid 7)");
  queue.push("config");
  queue.push("kernel");
  queue.push("kernel", "firewalld (pid 8)");
  expect(await queue.next(INTERVAL, 0)).toEqual({ triggers: ["kernel", "config"], by: "firewalld (pid 8)" });
  queue.push("signal");
  expect(await queue.next(INTERVAL, 0)).toEqual({ triggers: ["signal"], by: undefined });
});

test("a trigger that arrives later ends the wait", async () => {
  const queue = new SyncQueue();
  const next = queue.next(INTERVAL, INTERVAL);
  queue.push("config");
  expect(await next).toEqual({ triggers: ["config"], by: undefined });
});

test("without a trigger the request comes after the interval", async () => {
  const next = new SyncQueue().next(INTERVAL, 0);
  jest.advanceTimersByTime(INTERVAL - 1);
  expect(Bun.peek.status(next)).toBe("pending");
  jest.advanceTimersByTime(1);
  expect(await next).toEqual({ triggers: ["interval"], by: undefined });
});

test("syncs that rely on memory do not delay the interval", async () => {
  const queue = new SyncQueue();
  for (let i = 0; i < 3; i++) {
    const next = queue.next(INTERVAL, 0);
    jest.advanceTimersByTime(INTERVAL / 4);
    queue.push("config");
    expect(await next).toEqual({ triggers: ["config"], by: undefined });
  }
  const next = queue.next(INTERVAL, 0);
  jest.advanceTimersByTime(INTERVAL / 4);
  expect(await next).toEqual({ triggers: ["interval"], by: undefined });
  const following = queue.next(INTERVAL, 0);
  jest.advanceTimersByTime(INTERVAL - 1);
  expect(Bun.peek.status(following)).toBe("pending");
});

test("changes of the kernel wait for the repair delay, or for another trigger", async () => {
  const queue = new SyncQueue();
  queue.push("kernel");
  const delayed = queue.next(INTERVAL, 50);
  jest.advanceTimersByTime(49);
  await Promise.resolve();
  expect(Bun.peek.status(delayed)).toBe("pending");
  jest.advanceTimersByTime(1);
  expect((await delayed).triggers).toEqual(["kernel"]);
  queue.push("kernel");
  const next = queue.next(INTERVAL, INTERVAL);
  queue.push("signal");
  expect((await next).triggers).toEqual(["kernel", "signal"]);
});
