import { expect, test } from "bun:test";
import { closestMatch } from "../../src/system/closest-match.ts";

const KNOWN = ["check", "status", "cleanup", "resync-interval"];

test.each([
  ["check", "check"],
  ["CHECK", "check"],
  ["chek", "check"],
  ["cheeck", "check"],
  ["chack", "check"],
  ["chekc", "check"], // swapped letters are one typo
  ["statsu", "status"],
  ["chakk", undefined], // two typos in five letters
  ["resinc-intervall", "resync-interval"],
  ["", undefined],
])("%j means %p", (word, meant) => {
  expect(closestMatch(word, KNOWN)).toBe(meant);
});

test("mostTypos also limits long words", () => {
  expect(closestMatch("resinc-intervall", KNOWN, 1)).toBeUndefined();
  expect(closestMatch("resync-intervall", KNOWN, 1)).toBe("resync-interval");
});

test("the first of equally close words is returned", () => {
  expect(closestMatch("cat", ["bat", "car"])).toBe("bat");
});
