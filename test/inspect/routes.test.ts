import { expect, test } from "bun:test";
import { routesOf } from "../../src/inspect/routes.ts";
import { address } from "../policies.ts";

const ROUTE = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth1\t00000000\t016433C6\t0003\t0\t0\t0\t00000000\t0\t0\t0
wlan0\t00000000\t0164A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t0000000A\t0100000A\t0003\t0\t0\t0\t000000FF\t0\t0\t0
cali0\t0201F40A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
*\t0007F40A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
`;
const ROUTE_6 = `fd000010024400010000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001    cali0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 00000001 00000000 00000003     eth1
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`;
const TABLES = "Main:\n  +-- 0.0.0.0/0 3 0 5\nLocal:\n  +-- 0.0.0.0/0 3 0 5\n";

test("the longest prefix decides, then the lowest metric", () => {
  const { interfaceOf } = routesOf(ROUTE, ROUTE_6, TABLES, false);
  const to = ["203.0.113.7", "10.1.2.3", "10.244.1.2", "10.244.1.3", "2001:db8::7", "fd00:10:244:1::2"];
  expect(to.map(it => interfaceOf(address(it)))).toEqual(["eth1", "eth0", "cali0", "eth0", "eth1", "cali0"]);
});

test.each([
  ["more IPv4 tables", "Id 7:\n  +-- 192.0.2.0/24 2 0 2\n", false, [undefined, "eth1"]],
  ["rules for IPv6", "", true, ["eth1", undefined]],
  ["unknown rules for IPv6", "", undefined, ["eth1", undefined]],
] as const)("with %s, every interface of the family is unknown", (_what, tables, hasRules, interfaces) => {
  const { interfaceOf } = routesOf(ROUTE, ROUTE_6, `${TABLES}${tables}`, hasRules);
  expect(["203.0.113.7", "2001:db8::7"].map(it => interfaceOf(address(it)))).toEqual([...interfaces]);
});
