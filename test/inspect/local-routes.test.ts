import { afterAll, expect, test } from "bun:test";
import { parseFibTrie, parseIPv6Routes, readAddressTypes } from "../../src/inspect/local-routes.ts";
import { run } from "../../src/system/program.ts";
import { address } from "../policies.ts";

afterAll(async () => {
  await ip("link delete odd0");
  await ip("route delete local 203.0.113.0/24 dev lo");
  await ip("address delete fd00:9::1/128 dev lo");
});

const ip = (line: string) => run(["ip", ...line.split(" ")]);

test("/proc/net/fib_trie", () => {
  const text = `Id 100:
  |-- 0.0.0.0
     /0 host LOCAL
Main:
  +-- 0.0.0.0/0 2 0 2
     +-- 127.0.0.0/31 1 0 0
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 198.51.100.0
        /32 link BROADCAST
        /24 link UNICAST
`;
  expect(parseFibTrie(text).map(({ cidr, type }) => `${cidr} ${type}`)).toEqual([
    "127.0.0.0/8 LOCAL",
    "127.0.0.1/32 LOCAL",
    "198.51.100.0/32 BROADCAST",
    "198.51.100.0/24 UNICAST",
  ]);
});

test("/proc/net/ipv6_route", () => {
  const none = "00000000000000000000000000000000";
  const text = `fd000009000000000000000000000000 40 ${none} 00 ${none} 00000100 00000001 00000000 00000001       v0
00000000000000000000000000000001 80 ${none} 00 ${none} 00000000 00000002 00000000 80200001       lo
${none} 00 ${none} 00 ${none} ffffffff 00000001 00000000 00200200       lo
`;
  expect(parseIPv6Routes(text).map(({ cidr, type }) => `${cidr} ${type}`)).toEqual([
    "fd00:9::/64 UNICAST",
    "::1/128 LOCAL",
    "::/0 UNICAST",
  ]);
});

test("an address is local if the kernel has a local route to it", async () => {
  await ip("link add odd0 type veth peer name odd1");
  await ip("address add 198.51.100.9/24 dev odd0");
  await ip("link set odd0 up"); // without a carrier: its peer is down
  await ip("route add local 203.0.113.0/24 dev lo");
  await ip("address add fd00:9::1/128 dev lo");
  // The kernel adds routes of IPv6 addresses a moment later.
  while (!(await ip("-6 route show table local")).stdout.includes("fd00:9::1 "));
  const { isLocal, isBroadcast } = await readAddressTypes();
  const local = ["198.51.100.9", "203.0.113.77", "127.1.2.3", "FD00:9:0::1", "::1"];
  const others = ["198.51.100.8", "198.51.100.255", "192.0.2.1", "fd00:9::2"];
  expect([...local, ...others].filter(it => isLocal(address(it)))).toEqual(local);
  expect([...local, ...others].filter(it => isBroadcast(address(it)))).toEqual(["198.51.100.255"]);
});
