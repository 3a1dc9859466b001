import type { AddressValue, Family } from "../net/cidr.ts";

/** The addresses and ports of the packets of a connection in one direction. */
export interface Tuple {
  source: AddressValue;
  destination: AddressValue;
  /** For ICMP the identifier; 0 without ports. */
  sourcePort: number;
  /** For ICMP 256 times the type, plus the code. */
  destinationPort: number;
}

/** An entry of the kernel's conntrack table. {@link EntryParser} uses the same object for every entry. */
export interface Entry {
  family: Family;
  /** The number of the IP protocol. */
  protocol: number;
  /** The state of a TCP connection, as in `ESTABLISHED`; otherwise empty. */
  state: string;
  /** The packets of the side that began the connection, before NAT. */
  readonly original: Tuple;
  /** The packets that the kernel expects as answers: to the source address that the peer sees. */
  readonly reply: Tuple;
  /** The conntrack zone; 0 is the default, and -1 means that the directions have different zones. */
  zone: number;
  /** The identity of the entry; undefined if the table was read from /proc. */
  id: number | undefined;
}

/** The numbers of IP protocols: IANA's Assigned Internet Protocol Numbers. */
export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMPV6 = 58;

/**
 * Whether a TCP connection has ended: by RST (CLOSE), or by FIN in both directions (TIME_WAIT). Its entry stays for some
 * time, because late packets may follow.
 */
export function isEnded({ protocol, state }: Pick<Entry, "protocol" | "state">): boolean {
  return protocol === TCP && (state === "TIME_WAIT" || state === "CLOSE");
}

/** Names of protocols that conntrack knows, as in /etc/protocols. */
const NAMES: Readonly<Record<number, string>> = {
  [ICMP]: "icmp",
  [TCP]: "tcp",
  [UDP]: "udp",
  33: "dccp",
  47: "gre",
  [ICMPV6]: "icmpv6",
  132: "sctp",
  136: "udplite",
};

/** The name of a protocol, or its number. */
export function protocolName(protocol: number): string {
  return NAMES[protocol] ?? `protocol ${protocol}`;
}

/** Whether the protocol has ports. */
export function hasPorts(protocol: number): boolean {
  return protocol in NAMES && protocol !== ICMP && protocol !== ICMPV6 && protocol !== 47;
}
