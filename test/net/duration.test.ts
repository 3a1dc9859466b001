import { expect, test } from "bun:test";
import fc from "fast-check";
import { formatDuration, parseDuration } from "../../src/net/duration.ts";

/** Results of Go's time.ParseDuration, in milliseconds. */
test.each([
  ["0", 0],
  ["-0", 0],
  ["60s", 60_000],
  ["5m", 300_000],
  ["1h30m", 5_400_000],
  ["1.5h", 5_400_000],
  ["2m500ms", 120_500],
  ["-2m500ms", -120_500],
  ["+5s", 5000],
  [".5s", 500],
  ["5.s", 5000],
  ["1us", 0.001],
  ["1µs", 0.001],
  ["1μs", 0.001],
  ["1000000ns", 1],
  ["3m3h3m", 11_160_000],
])("%s is a duration", (text, milliseconds) => {
  expect(parseDuration(text)).toBeCloseTo(milliseconds, 9);
});

const WRITE = 'write numbers with units, for example "60s" or "1h30m"';
test.each([
  ["60", '"60" has no unit', 'did you mean "60s"?'],
  ["1.5", '"1.5" has no unit', 'did you mean "1.5s"?'],
  ["", '"" is not a duration', WRITE],
  ["s", '"s" is not a duration', WRITE],
  [".s", '".s" is not a duration', WRITE],
  ["1d", '"1d" is not a duration', WRITE],
  ["1S", '"1S" is not a duration', WRITE],
  ["1 s", '"1 s" is not a duration', WRITE],
  ["1s ", '"1s " is not a duration', WRITE],
  ["1h30", '"1h30" is not a duration', WRITE],
  ["--1s", '"--1s" is not a duration', WRITE],
  ["1e3s", '"1e3s" is not a duration', WRITE],
  ["2562048h", '"2562048h" is longer than 292 years', "write a shorter one"],
])("%p is not a duration", (text, what, remedy) => {
  expect(parseDuration(text)).toEqual({ what, remedy });
});

/** As Go prints them. */
test.each([
  [0, "0s"],
  [500, "500ms"],
  [1500, "1.5s"],
  [60_000, "1m0s"],
  [5_400_000, "1h30m0s"],
  [3_600_000, "1h0m0s"],
  [-120_500, "-2m0.5s"],
])("%d ms are %s", (milliseconds, text) => {
  expect(formatDuration(milliseconds)).toBe(text);
});

test("formatted durations parse to the same value", () => {
  const durations = fc.integer({ min: -(2 ** 40), max: 2 ** 40 });
  fc.assert(fc.property(durations, it => expect(parseDuration(formatDuration(it))).toBeCloseTo(it, 3)));
});
