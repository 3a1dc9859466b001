import { type Address, Cidr, type Family } from "./cidr.ts";

/** Whether an address stands for a group. */
export function isMulticast(address: Address): boolean {
  return MULTICAST[address.family].contains(address);
}

/** Whether an address stands for all hosts of any network. */
export function isBroadcast(address: Address): boolean {
  return BROADCAST.some(cidr => cidr.contains(address));
}

/** RFC 919, and 0.0.0.0, which the kernel takes for the same. */
export const BROADCAST = ["255.255.255.255/32", "0.0.0.0/32"].map(Cidr.literal);

/** RFC 5771 and RFC 4291. */
export const MULTICAST: Readonly<Record<Family, Cidr>> = {
  ip: Cidr.literal("224.0.0.0/4"),
  ip6: Cidr.literal("ff00::/8"),
};
