import { expect, test } from "bun:test";
import { Pace } from "../../src/agent/pace.ts";

test("a sync that fails is tried again later each time, up to the resync interval", () => {
  const pace = new Pace(10_000);
  expect([pace.wait, pace.hold]).toEqual([10_000, 0]);
  const waits = Array.from({ length: 6 }, () => {
    pace.failed();
    return [pace.wait, pace.hold];
  });
  expect(waits.map(([wait]) => wait)).toEqual([1000, 2000, 4000, 8000, 10_000, 10_000]);
  expect(waits.map(([, hold]) => hold)).toEqual([1000, 2000, 4000, 8000, 10_000, 10_000]);
  pace.succeeded();
  expect([pace.wait, pace.hold]).toEqual([10_000, 0]);
});

test("repairs are made at once, until there are too many of them", () => {
  const pace = new Pace(6000);
  let now = 0;
  const holds = Array.from({ length: 10 }, () => {
    pace.repaired(now);
    now += pace.hold + 10;
    return pace.hold;
  });
  expect(holds).toEqual([0, 0, 0, 0, 0, 1000, 2000, 4000, 6000, 6000]);
  expect(pace.fighting).toBe(true);
  expect(pace.calm(now + 5900)).toBe(false);
  expect(pace.calm(now + 6000)).toBe(true);
  pace.repaired(now + 6000);
  expect([pace.fighting, pace.hold, pace.wait]).toEqual([false, 0, 6000]);
});
