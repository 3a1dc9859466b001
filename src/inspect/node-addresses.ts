import type { NetworkInterfaceInfo } from "node:os";
import { type Address, BITS, parseAddress } from "../net/cidr.ts";

/** The result of `networkInterfaces` of node:os. */
export type NodeInterfaces = Readonly<
  Record<string, readonly Pick<NetworkInterfaceInfo, "address" | "cidr">[] | undefined>
>;

/** An address of the node itself. */
export interface NodeAddress {
  readonly interface: string;
  readonly address: Address;
  /** Prefix length of the network; undefined if unknown. */
  readonly prefix: number | undefined;
}

/**
 * Interfaces whose addresses are not used as sources: loopback, and those of kube-proxy and the node-local DNS cache.
 */
export const SERVICE_INTERFACE = /^(lo|kube-ipvs\d+|nodelocaldns)$/;

/** Returns the node's addresses without zones, such as `%eth0` in `fe80::1%eth0`. */
export function nodeAddresses(interfaces: NodeInterfaces): NodeAddress[] {
  return Object.entries(interfaces).flatMap(([name, all = []]) =>
    all.flatMap(({ address: text, cidr }) => {
      const address = parseAddress(text.replace(/%.*/s, ""));
      const prefix = /\/(\d+)/.exec(cidr ?? "")?.[1];
      if ("what" in address) return [];
      return [{ interface: name, address, prefix: prefix === undefined ? undefined : Number(prefix) }];
    }),
  );
}

/** Returns a test for addresses of the node, in any spelling. */
export function isNodeAddress(interfaces: NodeInterfaces): (address: Address) => boolean {
  const key = ({ family, value }: Address) => `${family} ${value}`;
  const own = new Set(nodeAddresses(interfaces).map(({ address }) => key(address)));
  return address => own.has(key(address));
}

/** Returns a test for broadcast addresses of the node's networks. */
export function isBroadcastOf(interfaces: NodeInterfaces): (address: Address) => boolean {
  const all = nodeAddresses(interfaces).flatMap(({ address, prefix }) => {
    // Networks of one or two addresses have no broadcast address (RFC 3021).
    if (address.family !== "ip" || prefix === undefined || prefix > 30) return [];
    return [(Number(address.value) | (2 ** (BITS.ip - prefix) - 1)) >>> 0];
  });
  return ({ family, value }) => family === "ip" && all.includes(Number(value));
}
