import { expect, test } from "bun:test";
import { type NodeFiles, ownServicesNote } from "../../src/inspect/own-services.ts";
import { policy } from "../policies.ts";

const UDP_HEAD =
  "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n";
const socket = (local: string, remote = "00000000:0000") =>
  `  123: ${local} ${remote} 07 00000000:00000000 00:00000000 00000000     0        0 25801 2 0000000000000000 0\n`;

function node(texts: Readonly<Record<string, string>>, interfaces: NodeFiles["interfaces"] = {}): NodeFiles {
  return {
    interfaces,
    read: async path => texts[path] ?? "",
    list: async path =>
      Object.keys(texts).flatMap(it => (it.startsWith(`${path}/`) ? [it.split("/")[4] ?? ""] : [])),
  };
}

const QUIET = node({
  "/sys/class/net/eth0/uevent": "INTERFACE=eth0\nIFINDEX=2\n",
  "/proc/net/udp": UDP_HEAD + socket("0100007F:0035") + socket("0100000A:11BB", "0200000A:0035"),
});

const NOTE = (what: string) =>
  `sourceCIDRs is not set, so connections of the node itself are also masqueraded: ${what} may get other source ports or addresses; set sourceCIDRs to the CIDRs of Pods or clients`;

test.each([
  ["WireGuard (wg0)", node({ "/sys/class/net/wg0/uevent": "DEVTYPE=wireguard\nINTERFACE=wg0\n" })],
  ["IKE", node({ "/proc/net/udp": UDP_HEAD + socket("00000000:01F4") + socket("00000000:1194") })],
  ["IKE", node({ "/proc/net/udp6": UDP_HEAD + socket(`${"0".repeat(32)}:1194`, `${"0".repeat(32)}:0000`) })],
  ["DHCP", node({ "/proc/net/udp": UDP_HEAD + socket("00000000:0043") })],
  ["VRRP", node({ "/proc/net/raw": UDP_HEAD + socket("00000000:0070") })],
  [
    "more than one address of eth0",
    node(
      {},
      {
        lo: [
          { address: "127.0.0.1", cidr: "127.0.0.1/8" },
          { address: "127.0.0.2", cidr: "127.0.0.2/8" },
        ],
        eth0: [
          { address: "192.0.2.1", cidr: "192.0.2.1/24" },
          { address: "192.0.2.9", cidr: "192.0.2.9/32" },
          { address: "fd00::1", cidr: "fd00::1/64" },
        ],
        eth1: [
          { address: "198.51.100.1", cidr: "198.51.100.1/24" },
          { address: "fd01::1", cidr: "fd01::1/64" },
        ],
      },
    ),
  ],
])("%s", async (what, files) => {
  expect(await ownServicesNote(policy(), files)).toBe(NOTE(what));
});

test("no note without such services, or if sources are restricted", async () => {
  expect(await ownServicesNote(policy(), QUIET)).toBeUndefined();
  const wireGuard = node({ "/sys/class/net/wg0/uevent": "DEVTYPE=wireguard\n" });
  expect(await ownServicesNote(policy({ sources: ["10.244.0.0/16"] }), wireGuard)).toBeUndefined();
});

test("unreadable files count as missing", async () => {
  expect(await ownServicesNote(policy(), node({}))).toBeUndefined();
});
