import { expect, test } from "bun:test";
import fc from "fast-check";
import { printable, printableJson, printableLines } from "../../src/system/printable.ts";

test.each([
  ["10.0.0.0/8 on eth0 – größer", "10.0.0.0/8 on eth0 – größer"],
  ["\x1b[2J\x1b]0;title\x07", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"],
  ["a\r\n\tb\x7f", "a\\r\\n\\tb\\u{7f}"],
  ["\x9b31m", "\\u{9b}31m"], // CSI in one character
  ["a\u202eb\u200b\u2028\ufeff", "a\\u{202e}b\\u{200b}\\u{2028}\\u{feff}"],
  ["a\u00a0b\u3000c d\u2800\u3164", "a\\u{a0}b\\u{3000}c d\\u{2800}\\u{3164}"],
  ["\ud800", "\\u{d800}"],
  ["😀", "😀"],
])("%j is printed as %j", (text, shown) => {
  expect(printable(text)).toBe(shown);
});

test("printableLines keeps line feeds and tabs", () => {
  expect(printableLines("a\tb\n\x1bc\r\n")).toBe("a\tb\n\\u{1b}c\\r\n");
});

test("printableJson keeps the value and leaves no unprintable character", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (key, value) => {
      const json = printableJson(`${JSON.stringify({ [key]: value })}\n`);
      expect(JSON.parse(json)).toEqual({ [key]: value });
      expect(json).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}](?!$)/u);
    }),
  );
});
