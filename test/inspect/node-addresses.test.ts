import { expect, test } from "bun:test";
import { isBroadcastOf, isNodeAddress, nodeAddresses } from "../../src/inspect/node-addresses.ts";
import { podProblems } from "../../src/inspect/pods.ts";
import { parseAddress } from "../../src/net/cidr.ts";
import { policy } from "../policies.ts";

const INTERFACES = {
  eth0: [
    { address: "198.51.100.2", cidr: "198.51.100.2/24" },
    { address: "fd00::1", cidr: "fd00::1/64" },
    { address: "fe80::a%eth0", cidr: "fe80::a%eth0/64" },
  ],
  cni0: [
    { address: "100.64.1.1", cidr: "100.64.1.1/24" },
    { address: "2001:DB8:0::1%cni0", cidr: "2001:DB8:0::1%cni0/64" },
    { address: "192.0.2.1", cidr: null },
  ],
  down: undefined,
};

test.each([
  ["198.51.100.2", true],
  ["FD00:0:0::1", true],
  ["fd00:0:0:0:0:0:0:1", true],
  ["fd00::0.0.0.1", true],
  ["fe80::A", true],
  ["2001:db8::1", true],
  ["198.51.100.3", false],
  ["fd00::2", false],
  ["::198.51.100.2", false],
])("%s is an address of the node: %p", (text, expected) => {
  const address = parseAddress(text);
  if ("what" in address) throw new TypeError(address.what);
  expect(isNodeAddress(INTERFACES)(address)).toBe(expected);
});

test.each([
  ["198.51.100.255", true],
  ["100.64.1.255", true],
  ["198.51.100.2", false],
  ["198.51.101.255", false],
  ["192.0.2.1", false],
  ["::198.51.100.255", false],
])("%s is a broadcast address of the node's networks: %p", (text, expected) => {
  const address = parseAddress(text);
  if ("what" in address) throw new TypeError(address.what);
  expect(isBroadcastOf(INTERFACES)(address)).toBe(expected);
});

test("zones and unknown networks", () => {
  expect(nodeAddresses(INTERFACES).map(({ address, prefix }) => [address.text, prefix])).toEqual([
    ["198.51.100.2", 24],
    ["fd00::1", 64],
    ["fe80::a", 64],
    ["100.64.1.1", 24],
    ["2001:DB8:0::1", 64],
    ["192.0.2.1", undefined],
  ]);
});

test("the networks of Pod bridges are found in any spelling", () => {
  expect(podProblems(policy({}, { enableIPv6: true }), INTERFACES).map(it => it.split(" looks")[0])).toEqual([
    "100.64.1.0/24 on cni0",
    "2001:db8::/64 on cni0",
  ]);
});
