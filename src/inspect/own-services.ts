import { readdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import type { Policy } from "../policy/policy.ts";
import { type NodeInterfaces, nodeAddresses, SERVICE_INTERFACE } from "./node-addresses.ts";

/** Access to the files of a node under /proc and /sys. */
export interface NodeFiles {
  readonly interfaces: NodeInterfaces;
  /** Returns the text of a file; empty if it cannot be read. */
  read(path: string): Promise<string>;
  /** Returns the names in a directory; empty if it cannot be read. */
  list(path: string): Promise<readonly string[]>;
}

/**
 * Returns a note on services of the node itself that masquerading may disturb if `sourceCIDRs` is not set. It can
 * change their source port, or replace their address by another address of the node. Undefined if there are no such
 * services. Throws nothing.
 */
export async function ownServicesNote(
  policy: Policy,
  files: NodeFiles = here(),
): Promise<string | undefined> {
  const families = policy.families.filter(it => it.sources === undefined);
  if (families.length === 0) return undefined;
  const found = [
    ...(await wireGuard(files)),
    ...(await udpServices(files)),
    ...(await vrrp(files)),
    ...severalAddresses(files.interfaces),
  ];
  if (found.length === 0) return undefined;
  return `sourceCIDRs is not set, so connections of the node itself are also masqueraded: ${found.join(", ")} may get other source ports or addresses; set sourceCIDRs to the CIDRs of Pods or clients`;
}

async function wireGuard({ read, list }: NodeFiles): Promise<string[]> {
  const names = (await list("/sys/class/net")).toSorted();
  const types = await Promise.all(names.map(name => read(`/sys/class/net/${name}/uevent`)));
  return names
    .filter((_, i) => /^DEVTYPE=wireguard$/m.test(types[i] ?? ""))
    .map(name => `WireGuard (${name})`);
}

/** UDP ports of services whose peers expect this source port: RFC 7296, RFC 2131. */
const SERVICES: Readonly<Record<number, string>> = { 500: "IKE", 4500: "IKE", 67: "DHCP" };

async function udpServices({ read }: NodeFiles): Promise<string[]> {
  const ports = [...localPorts(await read("/proc/net/udp")), ...localPorts(await read("/proc/net/udp6"))];
  const found = Object.entries(SERVICES).flatMap(([port, name]) =>
    ports.includes(Number(port)) ? [name] : [],
  );
  return [...new Set(found)];
}

/** VRRP uses raw sockets of IP protocol 112 (RFC 9568); the kernel lists the protocol as their port. */
async function vrrp({ read }: NodeFiles): Promise<string[]> {
  return localPorts(await read("/proc/net/raw")).includes(112) ? ["VRRP"] : [];
}

/** The ports of bound sockets that are not connected. */
function localPorts(table: string): number[] {
  const lines = table.matchAll(/^\s*\d+: [\dA-F]+:([\dA-F]{4}) 0+:0000 /gm);
  return Array.from(lines, ([, port = ""]) => Number.parseInt(port, 16));
}

/** Masquerading replaces a source address by the first address of the interface. */
function severalAddresses(interfaces: NodeInterfaces): string[] {
  const counts = new Map<string, number>();
  for (const { interface: name, address } of nodeAddresses(interfaces))
    if (address.family === "ip" && !SERVICE_INTERFACE.test(name))
      counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].filter(([, count]) => count > 1).map(([name]) => `more than one address of ${name}`);
}

function here(): NodeFiles {
  return {
    interfaces: networkInterfaces(),
    read: path => readFile(path, "utf8").catch(() => ""),
    list: path => readdir(path).catch(() => []),
  };
}
