import { readdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import type { Policy } from "../policy/policy.ts";
import { type NodeInterfaces, nodeAddresses } from "./node-addresses.ts";

/** What is read of a node, by paths under /proc and /sys. */
export interface NodeFiles {
  readonly interfaces: NodeInterfaces;
  /** A file's text; empty if it cannot be read. */
  read(path: string): Promise<string>;
  /** The names in a directory; none if it cannot be read. */
  list(path: string): Promise<readonly string[]>;
}

/**
 * A note on services of the node itself that masquerading may disturb because `sourceCIDRs` is not set: their source
 * ports change, or their address becomes another one of the node's. Undefined if there are none. Throws nothing.
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
  return `sourceCIDRs is not set, so connections of the node itself are masqueraded too: ${found.join(", ")} may get other source ports or addresses; set sourceCIDRs to the CIDRs of Pods or clients`;
}

async function wireGuard({ read, list }: NodeFiles): Promise<string[]> {
  const names = (await list("/sys/class/net")).toSorted();
  const types = await Promise.all(names.map(name => read(`/sys/class/net/${name}/uevent`)));
  return names
    .filter((_, i) => /^DEVTYPE=wireguard$/m.test(types[i] ?? ""))
    .map(name => `WireGuard (${name})`);
}

/** UDP ports of services that send from them to peers who expect that port: RFC 7296, RFC 2131. */
const SERVICES: Readonly<Record<number, string>> = { 500: "IKE", 4500: "IKE", 67: "DHCP" };

async function udpServices({ read }: NodeFiles): Promise<string[]> {
  const ports = [...localPorts(await read("/proc/net/udp")), ...localPorts(await read("/proc/net/udp6"))];
  const found = Object.entries(SERVICES).flatMap(([port, name]) =>
    ports.includes(Number(port)) ? [name] : [],
  );
  return [...new Set(found)];
}

/** Raw sockets of IP protocol 112, which the kernel lists in place of a port. RFC 9568. */
async function vrrp({ read }: NodeFiles): Promise<string[]> {
  return localPorts(await read("/proc/net/raw")).includes(112) ? ["VRRP"] : [];
}

/** The ports of sockets that are bound and not connected. */
function localPorts(table: string): number[] {
  const lines = table.matchAll(/^\s*\d+: [\dA-F]+:([\dA-F]{4}) 0+:0000 /gm);
  return Array.from(lines, ([, port = ""]) => Number.parseInt(port, 16));
}

/** Masquerading replaces a source by the first address of the interface. */
function severalAddresses(interfaces: NodeInterfaces): string[] {
  const counts = new Map<string, number>();
  for (const { interface: name, address } of nodeAddresses(interfaces))
    if (address.family === "ip" && !SERVICE_INTERFACE.test(name))
      counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].filter(([, count]) => count > 1).map(([name]) => `more than one address of ${name}`);
}

/**
 * The loopback interface, and those of kube-proxy and of the node-local DNS cache, whose addresses are not used as
 * sources.
 */
const SERVICE_INTERFACE = /^(lo|kube-ipvs\d+|nodelocaldns)$/;

function here(): NodeFiles {
  return {
    interfaces: networkInterfaces(),
    read: path => readFile(path, "utf8").catch(() => ""),
    list: path => readdir(path).catch(() => []),
  };
}
