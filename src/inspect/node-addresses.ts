import type { NetworkInterfaceInfo } from "node:os";
import { type Address, BITS, parseAddress } from "../net/cidr.ts";

/** As `networkInterfaces` of node:os returns them. */
export type NodeInterfaces = Readonly<
  Record<string, readonly Pick<NetworkInterfaceInfo, "address" | "cidr">[] | undefined>
>;

/** An address of the node itself. */
export interface NodeAddress {
  readonly interface: string;
  readonly address: Address;
  /** Length of the network's prefix in bits; undefined if it is not known. */
  readonly prefix: number | undefined;
}

/** The node's addresses. A zone, as in `fe80::1%eth0`, is left out. */
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

/** Tells whether an address is one of the node's, however it is spelled. */
export function isNodeAddress(interfaces: NodeInterfaces): (address: Address) => boolean {
  const key = ({ family, value }: Address) => `${family} ${value}`;
  const own = new Set(nodeAddresses(interfaces).map(({ address }) => key(address)));
  return address => own.has(key(address));
}

/** Tells whether an address is the broadcast address of one of the node's networks. */
export function isBroadcastOf(interfaces: NodeInterfaces): (address: Address) => boolean {
  const all = nodeAddresses(interfaces).flatMap(({ address, prefix }) => {
    // A network of two addresses or one has none (RFC 3021).
    if (address.family !== "ip" || prefix === undefined || prefix > 30) return [];
    return [address.value | ((1n << BigInt(BITS.ip - prefix)) - 1n)];
  });
  return ({ family, value }) => family === "ip" && all.includes(value);
}
