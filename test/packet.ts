import type { Address } from "../src/net/cidr.ts";

/** Whether the destination is a broadcast address, of a network of the node or of any network. */
export function isBroadcast({ destination, broadcast = false }: Packet): boolean {
  return broadcast || ["255.255.255.255", "0.0.0.0"].includes(destination.text);
}

/** The first packet of a connection that leaves the node. */
export interface Packet {
  readonly protocol: "tcp" | "udp" | "icmp";
  readonly source: Address;
  readonly destination: Address;
  /** The output interface. */
  readonly out: string;
  /** Whether the destination is a broadcast address of one of the node's networks. */
  readonly broadcast?: boolean;
  /** Whether an outgoing IPsec policy applies. */
  readonly ipsec?: boolean;
  /** The mark; by default none. */
  readonly mark?: number;
}

/** The effect of rules on the source of a packet. Later rules cannot change a source that is `bound`. */
export type Outcome = "masquerade" | "bound" | "untouched";
