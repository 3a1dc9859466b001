import { expect, test } from "bun:test";
import { hasMark, markOf, parseBits, parseMark } from "../../src/net/mark.ts";

test.each([
  ["0x200/0x200", "0x200/0x200"],
  ["0x200", "0x200"],
  ["512/512", "0x200/0x200"],
  ["0X2A0/0x00000FF0", "0x2a0/0xff0"],
  ["0x80000000/0x80000000", "0x80000000/0x80000000"],
  ["4294967295", "0xffffffff"],
  ["1/0xffffffff", "0x1"],
])("%s is the mark %s", (text, known) => {
  expect(parseMark(text)).toMatchObject({ text: known, key: known });
});

test.each([
  ["", '"" is not a mark; write a value and a mask, such as "0x200/0x200"'],
  ["0x", '"0x" is not a mark; write a value and a mask, such as "0x200/0x200"'],
  ["010/010", '"010/010" is not a mark; write a value and a mask, such as "0x200/0x200"'],
  ["0x200/0x200/1", '"0x200/0x200/1" is not a mark; write a value and a mask, such as "0x200/0x200"'],
  ["-1", '"-1" is not a mark; write a value and a mask, such as "0x200/0x200"'],
  ["0x100000000", '"0x100000000" has more than 32 bits; write a mark such as "0x200/0x200"'],
  ["0x300/0x200", '"0x300/0x200" has bits outside of its mask; did you mean "0x200/0x200"?'],
  [
    "0",
    '"0" also matches packets without a mark; write a value with bits of the mask, such as "0x200/0x200"',
  ],
  [
    "0x100/0x200",
    '"0x100/0x200" also matches packets without a mark; write a value with bits of the mask, such as "0x200/0x200"',
  ],
])("%p is refused", (text, message) => {
  const { what, remedy } = { what: "", remedy: "", ...parseMark(text) };
  expect(`${what}; ${remedy}`).toBe(message);
});

test("a packet has a mark if the bits of the mask are equal", () => {
  const has = (mark: string, bits: number) => hasMark(markOf(mark), bits);
  expect([has("0x200/0x300", 0x200), has("0x200/0x300", 0x4200), has("0x200/0x300", 0x300)]).toEqual([
    true,
    true,
    false,
  ]);
  expect([has("0x200", 0x200), has("0x200", 0x4200), has("0x80000000/0x80000000", 0xffff_ffff)]).toEqual([
    true,
    false,
    true,
  ]);
});

test("the mark of a packet has 32 bits", () => {
  expect(["0", "0x200", "4294967295"].map(parseBits)).toEqual([0, 0x200, 0xffff_ffff]);
  for (const text of ["", "0x", "4294967296", "1/1"]) expect(parseBits(text)).toHaveProperty("what");
});
