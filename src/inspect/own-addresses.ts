import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { type Address, Cidr, canonicalAddress } from "../net/cidr.ts";
import type { OwnAddress } from "../policy/policy.ts";
import { type NodeInterfaces, nodeAddresses, SERVICE_INTERFACE } from "./node-addresses.ts";

/**
 * Reads the addresses that `snatAddresses` can choose, preferred ones first. Interfaces without a carrier are left out,
 * because answers cannot reach them. Takes 0.07 ms, or 1.8 ms with 200 interfaces. Throws nothing.
 */
export async function readOwnAddresses(): Promise<OwnAddress[]> {
  return ownAddresses(networkInterfaces(), await readFile("/proc/net/if_inet6", "utf8").catch(() => ""));
}

/**
 * The same from the node's interfaces and the text of /proc/net/if_inet6, in the kernel's order.
 *
 * Leaves out loopback and IPv6 link-local addresses, addresses of Services, and IPv6 addresses that are tentative or
 * duplicate. Temporary IPv6 addresses come after the others because they change, and deprecated ones come last: they
 * are about to disappear, but keepalived also adds its addresses as deprecated.
 */
export function ownAddresses(interfaces: NodeInterfaces, inet6: string): OwnAddress[] {
  const flags = flagsByAddress(inet6);
  const rank = ({ address, interface: name }: OwnAddress) => {
    const found = flags.get(`${address.value} ${name}`) ?? 0;
    if (found & (TENTATIVE | DAD_FAILED)) return UNUSABLE;
    return Number(Boolean(found & TEMPORARY)) + 2 * Number(Boolean(found & DEPRECATED));
  };
  return nodeAddresses(interfaces)
    .filter(it => it.interface === "lo" || !SERVICE_INTERFACE.test(it.interface))
    .map(it => ({ address: canonical(it.address), interface: it.interface, rank: rank(it) }))
    .filter(it => it.rank < UNUSABLE && !NEVER.some(cidr => cidr.contains(it.address)))
    .sort((a, b) => a.rank - b.rank)
    .map(({ address, interface: name }) => ({ address, interface: name }));
}

const NEVER = ["127.0.0.0/8", "0.0.0.0/32", "::/127", "fe80::/10"].map(Cidr.literal);

/** Address flags of rtnetlink, from linux/if_addr.h. */
const TEMPORARY = 0x01;
const DAD_FAILED = 0x08;
const DEPRECATED = 0x20;
const TENTATIVE = 0x40;

const UNUSABLE = 4;

function canonical(address: Address): Address {
  return { ...address, text: canonicalAddress(address.text) };
}

/** The flags of each IPv6 address, by number and interface: `fd00…01 02 40 00 80 eth0`. */
function flagsByAddress(inet6: string): ReadonlyMap<string, number> {
  const lines = inet6.matchAll(/^([\da-f]{32}) [\da-f]+ [\da-f]+ [\da-f]+ ([\da-f]+) +(\S+)$/gm);
  return new Map(
    Array.from(lines, ([, address = "", flags = "", name = ""]) => [
      `${BigInt(`0x${address}`)} ${name}`,
      Number.parseInt(flags, 16),
    ]),
  );
}
