import { type Address, Cidr, type Family } from "./cidr.ts";

/** Whether an address is a multicast address. */
export function isMulticast(address: Address): boolean {
  return MULTICAST[address.family].contains(address);
}

/** Whether an address is a broadcast address in every network. */
export function isBroadcast(address: Address): boolean {
  return BROADCAST.some(cidr => cidr.contains(address));
}

/** RFC 919; the kernel treats 0.0.0.0 the same. */
export const BROADCAST = ["255.255.255.255/32", "0.0.0.0/32"].map(Cidr.literal);

/** RFC 5771 and RFC 4291. */
export const MULTICAST: Readonly<Record<Family, Cidr>> = {
  ip: Cidr.literal("224.0.0.0/4"),
  ip6: Cidr.literal("ff00::/8"),
};
