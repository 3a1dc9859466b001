import { expect, test } from "bun:test";
import { Backoff } from "../../src/agent/backoff.ts";

test.each([
  [60_000, [1000, 2000, 4000, 8000, 15_000, 15_000]],
  [3000, [1000, 2000, 3000, 3000, 3000, 3000]],
])("with a resync interval of %d ms, failures are retried after %j ms", (interval, expected) => {
  const backoff = new Backoff(interval);
  expect([backoff.nextSync, backoff.nextRepair]).toEqual([interval, 0]);
  const waits = expected.map(() => {
    backoff.failed(0, 10);
    expect(backoff.nextRepair).toBe(backoff.nextSync);
    return backoff.nextSync;
  });
  expect(waits).toEqual(expected);
  backoff.succeeded();
  expect([backoff.nextSync, backoff.nextRepair]).toEqual([interval, 0]);
});

test.each([
  [60_000, 50, 950],
  [60_000, 900, 100],
  [60_000, 4000, 0],
  [500, 50, 450],
])(
  "with a resync interval of %d ms and repairs that take %d ms, repairs of contested rules wait %d ms each",
  (interval, took, wait) => {
    const backoff = new Backoff(interval);
    let now = 0;
    const holds = Array.from({ length: 200 }, () => {
      now += took;
      backoff.repaired(now, took);
      now += backoff.nextRepair;
      return backoff.nextRepair;
    });
    expect(holds).toEqual([0, 0, 0, 0, 0, ...Array.from({ length: 195 }, () => wait)]);
    expect([backoff.contested, backoff.nextSync]).toEqual([true, Math.min(interval, 1000)]);
    expect(backoff.isCalm(now + 8000)).toBe(false);
    now += 10_001;
    expect(backoff.isCalm(now)).toBe(true);
    backoff.calmedDown();
    expect([backoff.contested, backoff.nextRepair, backoff.nextSync]).toEqual([false, 0, interval]);
    backoff.repaired(now, took);
    expect([backoff.contested, backoff.nextRepair, backoff.nextSync]).toEqual([false, 0, interval]);
  },
);

test("a repair that is undone at once is repeated sooner than a failed sync", () => {
  const backoff = new Backoff(60_000);
  backoff.failed(0, 10);
  const waits = Array.from({ length: 7 }, (_, i) => {
    backoff.undone(1000 * i, 100);
    return [backoff.nextSync, backoff.nextRepair];
  });
  expect(waits.map(([wait]) => wait)).toEqual([250, 250, 250, 250, 500, 1000, 1000]);
  expect(waits.map(([, hold]) => hold)).toEqual([250, 250, 250, 250, 500, 1000, 1000]);
  backoff.succeeded();
  backoff.undone(20_000, 600); // a sync of a long list takes at most half of the time
  expect([backoff.contested, backoff.nextSync, backoff.nextRepair]).toEqual([true, 600, 600]);
  backoff.undone(30_000, 4000); // but repairs begin at least once per second
  expect([backoff.nextSync, backoff.nextRepair]).toEqual([1000, 1000]);
  backoff.succeeded();
  expect(backoff.nextSync).toBe(60_000);
});

test("a sync repeats its writes for half a second only while the rules are contested", () => {
  const backoff = new Backoff(60_000);
  const times = Array.from({ length: 7 }, () => {
    backoff.repaired(0, 50);
    return backoff.rewriteTime;
  });
  expect(times).toEqual([0, 0, 0, 0, 0, 500, 500]);
  backoff.calmedDown();
  expect(backoff.rewriteTime).toBe(0);
});

test("within ten seconds of a repair of contested rules, a failed sync counts as undone", () => {
  const backoff = new Backoff(60_000);
  for (let i = 0; i < 6; i++) backoff.repaired(0, 50);
  const waits = [1000, 5000, 10_000, 10_001, 11_001].map(now => {
    backoff.failed(now, 50);
    return [backoff.nextSync, backoff.nextRepair, backoff.failures];
  });
  expect(waits).toEqual([
    [250, 250, 0],
    [250, 250, 0],
    [250, 250, 0],
    [1000, 1000, 1],
    [2000, 2000, 2],
  ]);
});
