import { expect, test } from "bun:test";
import { unified } from "../../src/inspect/unified.ts";

const names = ["kernel", "config"] as const;

test("the diff of equal texts is empty", () => {
  expect(unified(names, [], [])).toBe("");
  expect(unified(names, ["a", "b"], ["a", "b"])).toBe("");
});

test("three lines of context", () => {
  const lines = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
  expect(unified(names, lines, lines.with(4, "five"))).toBe(`--- kernel
+++ config
@@ -2,7 +2,7 @@
 2
 3
 4
-5
+five
 6
 7
 8
`);
});

test("a new text is added whole", () => {
  expect(unified(names, [], ["a"])).toBe("--- kernel\n+++ config\n@@ -0,0 +1,1 @@\n+a\n");
});

test("texts of 100,000 different lines are compared in little time", () => {
  const before = Array.from({ length: 100_000 }, (_, i) => `old ${i}`);
  const after = Array.from({ length: 100_000 }, (_, i) => `new ${i}`);
  const lines = unified(names, before, after).split("\n");
  expect(lines.slice(0, 4)).toEqual(["--- kernel", "+++ config", "@@ -1,100000 +1,100000 @@", "-old 0"]);
  expect(lines).toHaveLength(200_004);
});
