import { expect, test } from "bun:test";
import { Cidr } from "../../src/net/cidr.ts";
import { Pieces } from "../../src/net/pieces.ts";

test("addresses between two ends of CIDRs are in one piece", () => {
  const pieces = new Pieces("ip", ["10.0.0.0/8", "10.1.0.0/16", "fd00::/8", "255.0.0.0/8"].map(Cidr.literal));
  const at = [
    "0.0.0.0",
    "9.255.255.255",
    "10.0.0.0",
    "10.1.0.0",
    "10.1.255.255",
    "10.2.0.0",
    "11.0.0.0",
    "255.0.0.0",
  ];
  expect(at.map(it => pieces.at(Cidr.literal(`${it}/32`).first))).toEqual([0, 0, 1, 2, 2, 3, 4, 5]);
  expect(pieces.count).toBe(6);
  expect(new Pieces("ip6", [Cidr.literal("::/0")]).count).toBe(1);
  expect(new Pieces("ip6", [Cidr.literal("fd00::/8")]).at(2n ** 128n - 1n)).toBe(2);
});
