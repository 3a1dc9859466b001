import { expect, test } from "bun:test";
import { Pace } from "../../src/agent/pace.ts";

test.each([
  [60_000, [1000, 2000, 4000, 8000, 15_000, 15_000]],
  [3000, [1000, 2000, 3000, 3000, 3000, 3000]],
])("with a resync interval of %d ms failures are retried after %j ms", (interval, expected) => {
  const pace = new Pace(interval);
  expect([pace.wait, pace.hold]).toEqual([interval, 0]);
  const waits = expected.map(() => {
    pace.failed(0, 10);
    expect(pace.hold).toBe(pace.wait);
    return pace.wait;
  });
  expect(waits).toEqual(expected);
  pace.succeeded();
  expect([pace.wait, pace.hold]).toEqual([interval, 0]);
});

test.each([
  [60_000, 50, 950],
  [60_000, 900, 100],
  [60_000, 4000, 0],
  [500, 50, 450],
])(
  "with a resync interval of %d ms and repairs that take %d ms, contested ones wait %d ms, however long it lasts",
  (interval, took, wait) => {
    const pace = new Pace(interval);
    let now = 0;
    const holds = Array.from({ length: 200 }, () => {
      now += took;
      pace.repaired(now, took);
      now += pace.hold;
      return pace.hold;
    });
    expect(holds).toEqual([0, 0, 0, 0, 0, ...Array.from({ length: 195 }, () => wait)]);
    expect([pace.contested, pace.wait]).toEqual([true, Math.min(interval, 1000)]);
    expect(pace.calm(now + 8000)).toBe(false);
    now += 10_001;
    expect(pace.calm(now)).toBe(true);
    pace.settled();
    expect([pace.contested, pace.hold, pace.wait]).toEqual([false, 0, interval]);
    pace.repaired(now, took);
    expect([pace.contested, pace.hold, pace.wait]).toEqual([false, 0, interval]);
  },
);

test("a repair that is undone at once is made again sooner, not as after a failure", () => {
  const pace = new Pace(60_000);
  pace.failed(0, 10);
  const waits = Array.from({ length: 7 }, (_, i) => {
    pace.undone(1000 * i, 100);
    return [pace.wait, pace.hold];
  });
  expect(waits.map(([wait]) => wait)).toEqual([250, 250, 250, 250, 500, 1000, 1000]);
  expect(waits.map(([, hold]) => hold)).toEqual([250, 250, 250, 250, 500, 1000, 1000]);
  pace.succeeded();
  pace.undone(20_000, 600); // a long list takes at most half of the time
  expect([pace.contested, pace.wait, pace.hold]).toEqual([true, 600, 600]);
  pace.undone(30_000, 4000); // but is not repaired more slowly than others
  expect([pace.wait, pace.hold]).toEqual([1000, 1000]);
  pace.succeeded();
  expect(pace.wait).toBe(60_000);
});

test("only while the rules are contested a sync tries again for half a second", () => {
  const pace = new Pace(60_000);
  const patience = Array.from({ length: 7 }, () => {
    pace.repaired(0, 50);
    return pace.patience;
  });
  expect(patience).toEqual([0, 0, 0, 0, 0, 500, 500]);
  pace.settled();
  expect(pace.patience).toBe(0);
});

test("a sync that fails while the rules are contested counts as undone, for ten seconds", () => {
  const pace = new Pace(60_000);
  for (let i = 0; i < 6; i++) pace.repaired(0, 50);
  const waits = [1000, 5000, 10_000, 10_001, 11_001].map(now => {
    pace.failed(now, 50);
    return [pace.wait, pace.hold, pace.failures];
  });
  expect(waits).toEqual([
    [250, 250, 0],
    [250, 250, 0],
    [250, 250, 0],
    [1000, 1000, 1],
    [2000, 2000, 2],
  ]);
});
