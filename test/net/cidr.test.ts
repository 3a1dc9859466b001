import { describe, expect, test } from "bun:test";
import { isIP, isIPv6 } from "node:net";
import { normalizeCidr, parseCidr } from "cidr-tools";
import fc from "fast-check";
import { Cidr, compareCidrs, parseAddress, separateRedundant } from "../../src/net/cidr.ts";

describe("a valid CIDR", () => {
  test.each([
    ["0.0.0.0/0", "0.0.0.0/0", 0, 2 ** 32 - 1],
    ["10.0.0.0/8", "10.0.0.0/8", 0x0a000000, 0x0affffff],
    ["255.255.255.255/32", "255.255.255.255/32", 0xffffffff, 0xffffffff],
    ["::/0", "::/0", 0n, 2n ** 128n - 1n],
    ["2001:DB8:0:0::/32", "2001:db8::/32", 0x20010db8n << 96n, (0x20010db9n << 96n) - 1n],
    ["::1/128", "::1/128", 1n, 1n],
    [
      "64:ff9b::192.0.2.0/120",
      "64:ff9b::c000:200/120",
      (0x0064ff9bn << 96n) + 0xc0000200n,
      (0x0064ff9bn << 96n) + 0xc00002ffn,
    ],
  ])("%s", (given, text, first, last) => {
    expect(Cidr.parse(given)).toMatchObject({ text, first, last });
  });
});

describe("an invalid CIDR", () => {
  const NUMBERS = "write an IPv4 address such as 10.0.0.0 or an IPv6 address such as fd00::";
  const TIDY = "without leading zeros and spaces?";
  test.each([
    ["10.0.0.0", '"10.0.0.0" has no prefix length', 'did you mean "10.0.0.0/32"?'],
    ["fd00::1", '"fd00::1" has no prefix length', 'did you mean "fd00::1/128"?'],
    ["10.0.0.1/8", '"10.0.0.1/8" has host bits set', 'did you mean "10.0.0.0/8"?'],
    ["fd00::1/8", '"fd00::1/8" has host bits set', 'did you mean "fd00::/8"?'],
    ["10.0.0.0/33", '"10.0.0.0/33" has the invalid prefix length "33"', "use a prefix length from 0 to 32"],
    ["fd00::/129", '"fd00::/129" has the invalid prefix length "129"', "use a prefix length from 0 to 128"],
    ["10.0.0.0/", '"10.0.0.0/" has the invalid prefix length ""', "use a prefix length from 0 to 32"],
    ["10.0.0.0/08", '"10.0.0.0/08" has the invalid prefix length "08"', "use a prefix length from 0 to 32"],
    ["10.0.0.0/-8", '"10.0.0.0/-8" has the invalid prefix length "-8"', "use a prefix length from 0 to 32"],
    [
      "10.0.0.0/8/8",
      '"10.0.0.0/8/8" has the invalid prefix length "8/8"',
      "use a prefix length from 0 to 32",
    ],
    [
      "10.0.0.0/255.0.0.0",
      '"10.0.0.0/255.0.0.0" has a netmask instead of a prefix length',
      'did you mean "10.0.0.0/8"?',
    ],
    ["10.0.0/8", '"10.0.0/8": "10.0.0" is not an IP address', NUMBERS],
    ["10/8", '"10/8": "10" is not an IP address', NUMBERS],
    ["0x0a.0.0.0/8", '"0x0a.0.0.0/8": "0x0a.0.0.0" is not an IP address', NUMBERS],
    ["256.0.0.0/8", '"256.0.0.0/8": "256.0.0.0" is not an IP address', NUMBERS],
    ["pods/8", '"pods/8": "pods" is not an IP address', NUMBERS],
    ["", '"" is not an IP address', NUMBERS],
    ["010.0.0.0/8", '"010.0.0.0/8": "010.0.0.0" is not an IP address', `did you mean "10.0.0.0", ${TIDY}`],
    [" 10.0.0.0/8", '" 10.0.0.0/8": " 10.0.0.0" is not an IP address', `did you mean "10.0.0.0", ${TIDY}`],
    ["10.0.0.0 /8", '"10.0.0.0 /8": "10.0.0.0 " is not an IP address', `did you mean "10.0.0.0", ${TIDY}`],
    ["10.0.0.0/8 ", '"10.0.0.0/8 " has the invalid prefix length "8 "', "use a prefix length from 0 to 32"],
    ["fe80::%eth0/64", '"fe80::%eth0/64": "fe80::%eth0" has a zone', 'remove the "%" and the zone after it'],
    [
      "::ffff:10.0.0.0/104",
      '"::ffff:10.0.0.0/104": "::ffff:10.0.0.0" is an IPv4-mapped IPv6 address',
      "write the IPv4 address",
    ],
    [
      "::ffff:a00:0/104",
      '"::ffff:a00:0/104": "::ffff:a00:0" is an IPv4-mapped IPv6 address',
      "write the IPv4 address",
    ],
  ])("%p", (given, what, remedy) => {
    expect(Cidr.parse(given)).toEqual({ what, remedy });
  });

  test("the parser never throws", () => {
    const odd = fc.string({ unit: fc.constantFrom(..."0123456789abcdef.:/% -x") });
    fc.assert(fc.property(odd, text => void Cidr.parse(text)));
  });
});

const ipv4 = fc.tuple(fc.nat(0xffffffff), fc.nat(32)).map(([value, prefix]) => {
  const network = prefix === 0 ? 0 : ((value >>> (32 - prefix)) << (32 - prefix)) >>> 0;
  return { network, prefix, cidr: Cidr.literal(`${dotted(network)}/${prefix}`) };
});

test("IPv4 is parsed as strictly as by an address parser and cidr-tools", () => {
  const octet = fc.oneof(fc.nat(300).map(String), fc.constantFrom("0", "0", "0", "00", "01", "", "a", " 1"));
  const address = fc.array(octet, { minLength: 3, maxLength: 5 }).map(octets => octets.join("."));
  const length = fc.oneof(fc.nat(40).map(String), fc.constantFrom("", "08", "8 ", "8/8", "-1", "1e1", "٣"));
  const either = fc.oneof(
    fc.tuple(address, length).map(parts => parts.join("/")),
    ipv4.map(({ cidr }) => cidr.text),
    address,
  );
  fc.assert(
    fc.property(either, text => {
      const [ip = "", prefix = "", ...rest] = text.split("/");
      const isCidr = isIP(ip) === 4 && /^([12]?\d|3[0-2])$/.test(prefix) && rest.length === 0;
      const { start, end } = isCidr ? parseCidr(text) : {};
      const isValid = isCidr && start === parseCidr(ip).start;
      const expected = {
        family: "ip",
        text,
        first: Number(start),
        last: Number(end),
        prefix: Number(prefix),
      };
      expect(Cidr.parse(text)).toMatchObject(isValid ? expected : { what: expect.stringContaining(text) });
    }),
    { numRuns: 5000 },
  );
});

test("IPv6 is parsed as strictly as by an address parser and cidr-tools", () => {
  const group = fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 0, 0, 0xffff)).map(value => value.toString(16));
  const odd = fc.constantFrom("", "", "0001", "10000", "A", "1.2.3.4", "%a");
  const part = fc.oneof({ weight: 20, arbitrary: group }, odd);
  const address = fc.array(part, { minLength: 2, maxLength: 9 }).map(groups => groups.join(":"));
  const known = fc.ipV6().map(ip => (isIPv6(ip) ? normalizeCidr(ip) : ip));
  const length = fc.oneof(fc.nat(140).map(String), fc.constantFrom("0", "128", "064", ""));
  const given = fc.tuple(fc.oneof(address, known), length, fc.boolean());
  let valid = 0;
  fc.assert(
    fc.property(given, ([ip, prefix, cut]) => {
      const isCidr = isIPv6(ip) && !ip.includes("%") && /^(\d|[1-9]\d|1[01]\d|12[0-8])$/.test(prefix);
      const network = isCidr ? normalizeCidr(`${ip}/${prefix}`) : "";
      const text = isCidr && cut ? network : `${ip}/${prefix}`;
      const { start = 0n, end } = isCidr ? parseCidr(text) : {};
      const value = isCidr ? parseCidr(text.replace(/\/.*/, "")).start : 0n;
      const isValid = isCidr && value === start && value >> 32n !== 0xffffn;
      if (isValid) valid++;
      const expected = { family: "ip6", text: network, first: start, last: end, prefix: Number(prefix) };
      expect(Cidr.parse(text)).toMatchObject(isValid ? expected : { what: expect.stringContaining(text) });
    }),
    { numRuns: 5000 },
  );
  expect(valid).toBeGreaterThan(500);
});

test("a block contains an address if their first bits are equal", () => {
  fc.assert(
    fc.property(ipv4, fc.nat(0xffffffff), fc.nat(32), ({ network, prefix, cidr }, value, flipped) => {
      for (const number of [value, network, (network ^ (1 << (flipped & 31))) >>> 0]) {
        const address = parseAddress(dotted(number));
        if ("what" in address) throw new Error(address.what);
        const same = prefix === 0 || number >>> (32 - prefix) === network >>> (32 - prefix);
        expect(cidr.contains(address)).toBe(same);
      }
    }),
  );
});

test("effective blocks contain all redundant ones, and none contains another", () => {
  fc.assert(
    fc.property(fc.array(ipv4, { maxLength: 30 }), all => {
      const { effective, redundant } = separateRedundant(all);
      expect(effective.length + redundant.length).toBe(all.length);
      for (const { item, by } of redundant) {
        expect(by.cidr.contains(item.cidr)).toBe(true);
        expect(effective).toContain(by);
      }
      for (const a of effective) {
        expect(effective.filter(b => b.cidr.contains(a.cidr))).toEqual([a]);
      }
    }),
  );
});

test("CIDRs are ordered by family, address and size", () => {
  const texts = ["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "192.168.0.0/16", "::/0", "fd00::/8"];
  const cidrs = texts.map(text => Cidr.literal(text));
  expect(cidrs.toReversed().sort(compareCidrs).map(String)).toEqual(texts);
});

function dotted(value: number): string {
  return [24, 16, 8, 0].map(bits => (value >>> bits) & 255).join(".");
}
