import { readFile } from "node:fs/promises";
import { type Address, Cidr } from "../net/cidr.ts";
import { addressOf } from "../net/ranges.ts";
import { hasRoutingRules } from "../system/routing-rules.ts";

/** The interfaces by which the node sends packets, according to its routes. */
export interface Routes {
  /** The interface for a destination; undefined if it is unknown. */
  interfaceOf(destination: Address): string | undefined;
  /** CIDRs at whose ends the answers change. */
  readonly cidrs: readonly Cidr[];
}

interface Route {
  readonly cidr: Cidr;
  readonly metric: number;
  readonly name: string;
}

/**
 * Reads the kernel's routes. With policy routing (more tables than main and local), all interfaces of that family are
 * unknown, because /proc does not show its rules. For IPv6, it does not show tables either, so that the kernel is asked
 * for rules.
 */
export async function readRoutes(): Promise<Routes> {
  const read = (path: string) => readFile(path, "utf8").catch(() => "");
  const [ip, ip6, trie, hasRules] = await Promise.all([
    read("/proc/net/route"),
    read("/proc/net/ipv6_route"),
    read("/proc/net/fib_trie"),
    hasRoutingRules(),
  ]);
  return routesOf(ip, ip6, trie, hasRules);
}

/**
 * @param trie the text of /proc/net/fib_trie, which has a heading for each table
 * @param hasRules whether IPv6 has rules of policy routing; undefined if that is not known
 */
export function routesOf(ip: string, ip6: string, trie: string, hasRules: boolean | undefined): Routes {
  const hasOtherTables = /^Id \d+:$/m.test(trie);
  const routes = [...(hasOtherTables ? [] : ipv4Routes(ip)), ...(hasRules === false ? ipv6Routes(ip6) : [])];
  routes.sort((a, b) => b.cidr.prefix - a.cidr.prefix || a.metric - b.metric);
  return {
    interfaceOf: destination => routes.find(({ cidr }) => cidr.contains(destination))?.name,
    cidrs: routes.map(({ cidr }) => cidr),
  };
}

/** RTF_REJECT of linux/route.h: an unreachable or prohibited destination. */
const REJECT = 0x0200;

/** Columns: interface, destination, gateway, flags, use (2), metric, mask. Addresses are in the CPU's byte order. */
function ipv4Routes(text: string): Route[] {
  return text.split("\n").flatMap(line => {
    const [name = "", destination = "", , flags = "", , , metric = "", mask = ""] = line.split("\t");
    if (!/^[\dA-F]{8}$/.test(destination) || (Number.parseInt(flags, 16) & REJECT) !== 0) return [];
    const prefix = bytesOf(mask).join("").replaceAll("0", "").length;
    const address = bytesOf(destination)
      .map(it => Number.parseInt(it, 2))
      .join(".");
    return { cidr: Cidr.literal(`${address}/${prefix}`), metric: Number(metric), name };
  });
}

/** The bytes of a little-endian hexadecimal number in network order, each as eight binary digits. */
function bytesOf(hex: string): string[] {
  const bytes = hex.match(/../g) ?? [];
  return bytes.reverse().map(it => Number.parseInt(it, 16).toString(2).padStart(8, "0"));
}

/** Columns: destination, length, source (2), gateway, metric, use (2), flags, interface; numbers are hexadecimal. */
function ipv6Routes(text: string): Route[] {
  return text.split("\n").flatMap(line => {
    const [address = "", length = "", , , , metric = "", , , flags = "", name = ""] = line
      .trim()
      .split(/\s+/);
    if (name === "" || (Number.parseInt(flags, 16) & REJECT) !== 0) return [];
    const first = addressOf("ip6", BigInt(`0x${address}`));
    const cidr = Cidr.literal(`${first.text}/${Number.parseInt(length, 16)}`);
    return { cidr, metric: Number.parseInt(metric, 16), name };
  });
}
