/** The protocols of connections, by their names in /etc/protocols. */
export const PROTOCOLS = ["tcp", "udp", "sctp", "icmp", "icmpv6"] as const;

export type Protocol = (typeof PROTOCOLS)[number];
