import { expect, test } from "bun:test";
import { parseCidr } from "cidr-tools";
import fc from "fast-check";
import { parseCanonicalIPv6 } from "../../src/net/ipv6.ts";

const parse = (text: string) => parseCanonicalIPv6(`${text}/64`, text.length);

test.each([
  ["::", 0n],
  ["::1", 1n],
  ["fd00::", 0xfdn << 120n],
  ["2001:db8::1:0:0:1", 0x20010db8_00000000_00010000_00000001n],
  ["1:2:3:4:5:6:7:8", 0x00010002_00030004_00050006_00070008n],
  ["1:0:3:4:5:6:7:8", 0x00010000_00030004_00050006_00070008n],
])("%s", (text, value) => {
  expect(parse(text)).toBe(value);
});

test.each([
  ...["", ":", ":::", "1", "1:", ":1", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8"],
  ...[
    "0::1",
    "2001:DB8::",
    "2001:0db8::",
    "12345::",
    "g::",
    "::1.2.3.4",
    "fe80::1%eth0",
    " ::1",
    "1:2:3:4:5:6:7:8:",
  ],
  ...["::0:1", "1::2:0:0:0:3", "1:0:0:4:5:6:7:8", "0:0:0:0:0:0:0:0"],
])("%p is not canonical", text => {
  expect(parse(text)).toBeUndefined();
});

test("a text is canonical if cidr-tools prints it, and has the same value there", () => {
  const group = fc.oneof(fc.constant(0), fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
  const groups = fc.array(group, { minLength: 8, maxLength: 8 });
  const written = fc.tuple(groups, fc.nat(7), fc.integer({ min: 1, max: 8 })).map(([all, from, gap]) => {
    const hex = all.map(it => it.toString(16));
    return [hex.join(":"), `${hex.slice(0, from).join(":")}::${hex.slice(from + gap).join(":")}`];
  });
  fc.assert(
    fc.property(written, texts => {
      for (const text of texts) {
        const { ip, start } = parseCidr(text);
        expect(parse(text)).toBe(text === ip && !ip.includes(".") ? start : undefined);
        if (!ip.includes(".")) expect(parse(ip)).toBe(start);
      }
    }),
    { numRuns: 2000 },
  );
});
