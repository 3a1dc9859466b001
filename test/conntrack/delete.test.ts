import { expect, test } from "bun:test";
import { deletion } from "../../src/conntrack/delete.ts";
import type { Entry } from "../../src/conntrack/entry.ts";

const ENTRY: Entry = {
  family: "ip",
  protocol: 6,
  state: "ESTABLISHED",
  original: { source: 0x0af40102, destination: 0xcb007107, sourcePort: 0xa8ca, destinationPort: 443 },
  reply: { source: 0xcb007107, destination: 0xc6336402, sourcePort: 443, destinationPort: 1061 },
  zone: 0,
  id: 0x437a0b2b,
};

function message(entry: Partial<Entry>): string {
  return Buffer.from(deletion({ ...ENTRY, ...entry }, 7)).toString("hex");
}

test("the request names the addresses and ports before NAT, and the identity", () => {
  expect(message({})).toBe(
    [
      "50000000" + "0201" + "0500" + "07000000" + "00000000", // nlmsghdr
      "02000000", // nfgenmsg: AF_INET
      "34000180", // CTA_TUPLE_ORIG
      "14000180" + "08000100" + "0af40102" + "08000200" + "cb007107", // CTA_TUPLE_IP
      "1c000280" + "05000100" + "06000000" + "06000200" + "a8ca0000" + "06000300" + "01bb0000", // CTA_TUPLE_PROTO
      "08000c00" + "437a0b2b", // CTA_ID
    ].join(""),
  );
});

test("ICMPv6 has identifier, type and code instead of ports", () => {
  const original = { source: 1n, destination: 2n ** 127n, sourcePort: 77, destinationPort: 128 * 256 };
  const text = message({ family: "ip6", protocol: 58, original, id: undefined });
  expect(text).toContain("0a000000"); // AF_INET6
  expect(text).toContain(`14000300${"0".repeat(31)}114000400${"8".padEnd(32, "0")}`);
  expect(text).toEndWith(
    "050001003a000000" + "06000700" + "004d0000" + "0500080080000000" + "0500090000000000",
  );
});

test("other protocols have only a number", () => {
  expect(message({ protocol: 89, id: undefined })).toEndWith("0c000280" + "0500010059000000");
});
