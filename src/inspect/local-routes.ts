import { networkInterfaces } from "node:os";
import { type Address, BITS, Cidr } from "../net/cidr.ts";
import { HOST } from "../system/host.ts";
import { isBroadcastOf, isNodeAddress } from "./node-addresses.ts";

/** The types of addresses in the kernel's routes, as `fib daddr type` and addrtype see them. */
export interface AddressTypes {
  /** Whether packets to the address stay on the node. Includes whole blocks, and addresses of interfaces that are down. */
  isLocal(address: Address): boolean;
  isBroadcast(address: Address): boolean;
  /** The blocks of these addresses; undefined if /proc lacks the routes. */
  readonly local: readonly Cidr[] | undefined;
  readonly broadcast: readonly Cidr[] | undefined;
  /** Blocks of IPv6 among `local` that may belong to another routing table: the kernel does not print the table. */
  readonly doubtful: readonly Cidr[];
}

/** Reads the kernel's routes. If /proc lacks them, uses the addresses of interfaces that are up. */
export async function readAddressTypes({ read } = HOST): Promise<AddressTypes> {
  const [ip, ip6] = await Promise.all(["/proc/net/fib_trie", "/proc/net/ipv6_route"].map(read));
  const routes = { ip: ip ? parseFibTrie(ip) : undefined, ip6: ip6 ? parseIPv6Routes(ip6) : undefined };
  const local = {
    ip: routes.ip && cidrsOf(routes.ip, "LOCAL"),
    ip6: routes.ip6 && cidrsOf(routes.ip6, "LOCAL"),
  };
  const broadcast = routes.ip && cidrsOf(routes.ip, "BROADCAST");
  const interfaces = networkInterfaces();
  const [own, ofNetworks] = [isNodeAddress(interfaces), isBroadcastOf(interfaces)];
  return {
    local: local.ip && [...local.ip, ...(local.ip6 ?? [])],
    broadcast,
    doubtful: (local.ip6 ?? []).filter(({ prefix }) => prefix < BITS.ip6),
    isLocal: it => local[it.family]?.some(cidr => cidr.contains(it)) ?? own(it),
    isBroadcast: it => broadcast?.some(cidr => cidr.contains(it)) ?? ofNetworks(it),
  };
}

interface Route {
  readonly cidr: Cidr;
  /** The type of the route: LOCAL, BROADCAST, UNICAST and others. */
  readonly type: string;
}

function cidrsOf(routes: readonly Route[], ofType: "LOCAL" | "BROADCAST"): Cidr[] {
  return routes.flatMap(({ cidr, type }) => (type === ofType ? cidr : []));
}

/**
 * Parses /proc/net/fib_trie: after each line `|-- ADDRESS`, a line `/LENGTH SCOPE TYPE` for each route. Leaves out tables
 * other than main and local: transparent proxies have a local route to everything in a table of their rules, which
 * `fib daddr type` and addrtype do not ask.
 */
export function parseFibTrie(text: string): Route[] {
  let address = "";
  let isAsked = true;
  return text.split("\n").flatMap(line => {
    if (/^\S/.test(line)) isAsked = line === "Main:" || line === "Local:";
    if (!isAsked) return [];
    address = /^\s*\|-- (\S+)/.exec(line)?.[1] ?? address;
    const [, length, type = ""] = /^\s*\/(\d+) \S+ (\S+)/.exec(line) ?? [];
    return length === undefined ? [] : route(`${address}/${length}`, type);
  });
}

/** RTF_LOCAL of linux/ipv6_route.h. */
const RTF_LOCAL = 0x80000000;

/** Parses /proc/net/ipv6_route: hexadecimal columns; the first two are the destination, the ninth the flags. */
export function parseIPv6Routes(text: string): Route[] {
  return text.split("\n").flatMap(line => {
    const [address = "", length = "", , , , , , , flags = ""] = line.trim().split(/\s+/);
    const groups = address.match(/.{4}/g) ?? [];
    const local = Number.parseInt(flags, 16) >= RTF_LOCAL;
    return route(`${groups.join(":")}/${Number.parseInt(length, 16)}`, local ? "LOCAL" : "UNICAST");
  });
}

function route(text: string, type: string): Route[] {
  const cidr = Cidr.parse(text);
  return cidr instanceof Cidr ? [{ cidr, type }] : [];
}
