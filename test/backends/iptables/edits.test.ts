import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Edit, editsOf } from "../../../src/backends/iptables/edits.ts";

/** Chains after the edits: iptables inserts by number, nft before a rule. */
function edited(actual: readonly string[], desired: readonly string[], edits: readonly Edit[]) {
  const [byNumber, byRule] = [[...actual], [...actual]];
  for (const edit of edits) {
    if (edit.does === "delete") {
      const text = actual[edit.actual] ?? "";
      for (const chain of [byNumber, byRule]) chain.splice(chain.indexOf(text), 1);
      continue;
    }
    const rule = desired[edit.desired] ?? "";
    if (edit.does === "append") for (const chain of [byNumber, byRule]) chain.push(rule);
    else {
      byNumber.splice(edit.at - 1, 0, rule);
      byRule.splice(byRule.indexOf(actual[edit.before] ?? ""), 0, rule);
    }
  }
  return { byNumber, byRule };
}

const chain = (text: string) => [...text];

test.each([
  ["abcde", "abcde", ""],
  ["abcde", "abXcde", "insert X at 3 before c"],
  ["abcde", "abde", "delete c"],
  ["abcde", "abXde", "delete c, insert X at 3 before d"],
  ["abcde", "XYabcde", "insert X at 1 before a, insert Y at 2 before a"],
  ["abcde", "abcdeX", "append X"],
  ["abcde", "Xbcd", "delete a, insert X at 1 before b, delete e"],
  ["", "ab", "append a, append b"],
])("from %s to %s", (from, to, text) => {
  const [actual, desired] = [chain(from), chain(to)];
  const lines = editsOf(actual, desired)?.map(it => {
    if (it.does === "delete") return `delete ${actual[it.actual]}`;
    if (it.does === "append") return `append ${desired[it.desired]}`;
    return `insert ${desired[it.desired]} at ${it.at} before ${actual[it.before]}`;
  });
  expect(lines?.join(", ")).toBe(text);
});

test.each([
  ["the order changes", "abcde", "abdce"],
  ["a rule occurs twice", "abcdea", "abcde"],
  ["most rules differ", "abcdefgh", "ABCDEFGH"],
])("the whole chain is written if %s", (_why, from, to) => {
  expect(editsOf(chain(from), chain(to))).toBe(undefined);
});

test("edits lead to the desired rules", () => {
  const rules = fc.uniqueArray(fc.constantFrom(..."abcdefghijklmnop"), { maxLength: 16 });
  fc.assert(
    fc.property(rules, rules, (actual, desired) => {
      const edits = editsOf(actual, desired);
      if (!edits) return;
      expect(edited(actual, desired, edits)).toEqual({ byNumber: desired, byRule: desired });
    }),
  );
});
