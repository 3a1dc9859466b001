import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Cidr } from "../../src/net/cidr.ts";
import { ElementReader, type ListedElements } from "../../src/nft/elements.ts";
import { byAddress, type Element } from "../../src/nft/table.ts";

/** Reads a listing of a set in pieces of so many bytes. */
function read(
  elements: readonly string[],
  expected: readonly Element[] = [],
  size = 7,
): ListedElements | undefined {
  const list = elements.length > 0 ? `\t\telements = { ${elements.join(",\n\t\t\t     ")} }\n` : "";
  const text = `table ip t {\n\tset a {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\tcounter\n${list}\t}\n}\n`;
  const bytes = new TextEncoder().encode(text);
  const reader = new ElementReader(expected);
  for (let i = 0; i < bytes.length; i += size) reader.add(bytes.subarray(i, i + size));
  return reader.end();
}

const element = (cidr: string, comment?: string): Element => ({
  value: Cidr.literal(cidr),
  ...(comment === undefined ? {} : { comment }),
});

const COUNTED = [
  '10.0.0.0/8 counter packets 3 bytes 180 comment "config:1"',
  '192.0.2.1 counter packets 0 bytes 0 comment "config:2, edited }"',
  "198.51.100.0/24 counter packets 1 bytes 60",
];
const ELEMENTS = [
  element("10.0.0.0/8", "config:1"),
  element("192.0.2.1/32", "config:2, edited }"),
  element("198.51.100.0/24"),
];

describe("elements of a set in nft's text", () => {
  test.each([
    ["unexpected", []],
    ["expected", ELEMENTS],
    ["some expected", [ELEMENTS[1] ?? element("::/0"), element("203.0.113.0/24")]],
    ["another comment expected", ELEMENTS.map(({ value }) => ({ value, comment: "other" }))],
  ])("with counters and comments, %s", (_, expected) => {
    const listed = read(COUNTED, expected);
    expect(listed?.elements).toEqual(ELEMENTS);
    expect([...Array.from(listed?.counts ?? [])]).toEqual([3, 180, 0, 0, 1, 60]);
  });

  test.each([
    [
      ["10.0.0.0/8", "11.0.0.1"],
      ["10.0.0.0/8", "11.0.0.1/32"],
    ],
    [
      ["::/32", "2001:db8::", "fd00::/8"],
      ["::/32", "2001:db8::/128", "fd00::/8"],
    ],
    [["10.0.0.0-10.0.0.255"], ["10.0.0.0/24"]],
    [[], []],
  ])("%p", (lines, cidrs) => {
    expect(read(lines)?.elements.map(({ value }) => `${value}`)).toEqual(cidrs);
  });

  test.each([
    ["a range that is not a CIDR", ["10.0.0.0-10.0.0.2"]],
    ["a timeout", ["10.0.0.0 timeout 1h expires 59m"]],
    ["a comment with a quote", ['10.0.0.0/8 comment "a"b"']],
    ["another type", ["80", "443"]],
    ["an order that is not by address", ["11.0.0.0/8", "10.0.0.0/8"]],
  ])("%s is left to JSON", (_, lines) => {
    expect(read(lines)).toBeUndefined();
  });

  test("a text that ends early is left to JSON", () => {
    const reader = new ElementReader([]);
    reader.add(new TextEncoder().encode("\t\telements = { 10.0.0.0/8,\n"));
    expect(reader.end()).toBeUndefined();
  });

  test("elements that are as expected are the same objects", () => {
    expect(read(COUNTED, ELEMENTS)?.elements).toBe(ELEMENTS);
    expect(read(COUNTED.slice(1), ELEMENTS)?.elements[1]).toBe(ELEMENTS[2]);
  });

  test("are the same for any expectation and any cut of the text", () => {
    const list = fc
      .uniqueArray(fc.nat(200), { maxLength: 40 })
      .map(numbers => numbers.map(it => element(`10.0.${it}.0/24`, `c:${it % 3}`)).sort(byAddress));
    fc.assert(
      fc.property(list, list, fc.integer({ min: 1, max: 900 }), (actual, expected, size) => {
        const lines = actual.map(
          ({ value, comment }, i) => `${value} counter packets ${i} bytes ${60 * i} comment "${comment}"`,
        );
        const listed = read(lines, expected, size);
        expect(listed?.elements).toEqual(actual);
        expect(Array.from(listed?.counts ?? [])).toEqual(actual.flatMap((_, i) => [i, 60 * i]));
      }),
      { numRuns: 200 },
    );
  });
});
