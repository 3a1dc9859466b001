import { expect, test } from "bun:test";
import fc from "fast-check";
import { type AddressValue, Cidr } from "../../src/net/cidr.ts";
import {
  cidrsBetween,
  difference,
  every,
  hasOutside,
  intersection,
  type Ranges,
  rangesOf,
  united,
} from "../../src/net/ranges.ts";

const of = (...texts: string[]) => rangesOf(texts.map(Cidr.literal));

test("CIDRs as ranges are sorted, and adjacent ones merged", () => {
  expect(of()).toEqual([]);
  expect(of("10.0.0.0/31")).toEqual([[0x0a000000, 0x0a000001]]);
  expect(of("10.0.0.2/31", "10.0.0.0/31", "10.0.0.1/32")).toEqual([[0x0a000000, 0x0a000003]]);
  expect(of("0.0.0.0/0")).toEqual(every("ip"));
  expect(of("8000::/1", "::/1")).toEqual(every("ip6"));
});

test("intersection and difference", () => {
  expect(intersection(of("10.0.0.0/8"), of("10.1.0.0/16", "11.0.0.0/8"))).toEqual(of("10.1.0.0/16"));
  expect(difference(of("10.0.0.0/30"), of("10.0.0.1/32"))).toEqual(of("10.0.0.0/32", "10.0.0.2/31"));
  expect(difference(of("10.0.0.0/8"), of("0.0.0.0/0"))).toEqual([]);
  expect(difference(every("ip6"), of("8000::/1"))).toEqual(of("::/1"));
});

test("a range splits into CIDRs", () => {
  const texts = (family: "ip" | "ip6", first: AddressValue, last: AddressValue) =>
    cidrsBetween(family, first, last).map(({ text }) => text);
  expect(texts("ip", 0x0a000000, 0x0a000005)).toEqual(["10.0.0.0/30", "10.0.0.4/31"]);
  expect(texts("ip", 0, 0xffffffff)).toEqual(["0.0.0.0/0"]);
  expect(texts("ip6", 0n, 2n ** 128n - 1n)).toEqual(["::/0"]);
  expect(texts("ip6", 1n, 2n)).toEqual(["::1/128", "::2/128"]);
});

/** Ranges of the first 32 addresses, and the numbers in them. */
const small = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 31 }), fc.integer({ min: 0, max: 31 })), { maxLength: 6 })
  .map(pairs => united(pairs.map(([a, b]) => [Math.min(a, b), Math.max(a, b)])));

function members(ranges: Ranges): number[] {
  return Array.from({ length: 32 }, (_, i) => i).filter(i =>
    ranges.some(([first, last]) => first <= i && i <= last),
  );
}

test("ranges behave like sets", () => {
  fc.assert(
    fc.property(small, small, (a, b) => {
      const [inA, inB] = [members(a), members(b)];
      expect(members(intersection(a, b))).toEqual(inA.filter(i => inB.includes(i)));
      expect(members(difference(a, b))).toEqual(inA.filter(i => !inB.includes(i)));
      for (const result of [intersection(a, b), difference(a, b)])
        expect(united(result)).toEqual(united([...result]));
      expect(hasOutside(a, b)).toBe(difference(a, b).length > 0);
      const cidrs = a.flatMap(([first, last]) => cidrsBetween("ip", first, last));
      expect(rangesOf(cidrs)).toEqual(a);
    }),
  );
});
