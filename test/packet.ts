import type { Address } from "../src/net/cidr.ts";

/** The first packet of a connection that is about to leave the node. */
export interface Packet {
  readonly protocol: "tcp" | "udp" | "icmp";
  readonly source: Address;
  readonly destination: Address;
  /** The interface it leaves by. */
  readonly out: string;
}
