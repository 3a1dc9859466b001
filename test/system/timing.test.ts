import { expect, test } from "bun:test";
import { LastSaid } from "../../src/system/last-said.ts";
import { EarliestTimer, retryDelay } from "../../src/system/timing.ts";

test.each([
  [1, 1000],
  [2, 2000],
  [4, 8000],
  [5, 15_000],
  [2000, 15_000],
])("after %d failures in a row the delay is %d ms", (failures, wait) => {
  expect(retryDelay(failures, 1000, 15_000)).toBe(wait);
});

test("a timer calls at the earliest requested time, and can be used again", async () => {
  let called = Promise.withResolvers<void>();
  const timer = new EarliestTimer(() => called.resolve());
  for (const milliseconds of [60_000, 1, 60_000]) timer.schedule(milliseconds);
  await called.promise;
  called = Promise.withResolvers();
  timer.schedule(60_000);
  timer.cancel();
  timer.schedule(1);
  await called.promise;
});

test("a lasting condition is news once, and again after it ended", () => {
  const said = new LastSaid();
  const texts = [undefined, "a", "a", "b", "a", undefined, undefined, "a"];
  expect(texts.map(text => said.isNews(text))).toEqual([false, true, false, true, true, true, false, true]);
});
