import type { Family } from "../src/net/cidr.ts";

/**
 * The lab as data: a Pod, a node, and two servers that answer for the rest of the world.
 *
 *     pod eth0 ───── cali0 node eth0 ───── eth0 inside     10/8, 172.16/12, 192.168/16, 169.254/16, fc00::/7
 *                               eth1 ───── eth0 outside    every other address
 */
export const NAMESPACES = ["pod", "node", "inside", "outside"] as const;
export type NamespaceName = (typeof NAMESPACES)[number];

/** `inside` stands for the cluster and the private networks around it, `outside` for the internet. */
export type ServerName = "inside" | "outside";

/** A veth pair. Its far end is `eth0` in the namespace `to`, which routes everything to the node. */
interface Link {
  readonly to: Exclude<NamespaceName, "node">;
  /** The interface's name on the node. */
  readonly name: string;
  /** The node's address on the interface; masquerading uses it. */
  readonly near: Readonly<Record<Family, string>>;
  readonly far: Readonly<Record<Family, string>>;
  /** The node routes these CIDRs to the far end. */
  readonly routes: readonly string[];
}

export const LINKS = {
  pod: {
    to: "pod",
    name: "cali0",
    near: { ip: "10.244.1.1", ip6: "fd00:10:244:1::1" },
    far: { ip: "10.244.1.2", ip6: "fd00:10:244:1::2" },
    routes: [],
  },
  inside: {
    to: "inside",
    name: "eth0",
    near: { ip: "10.0.0.2", ip6: "fd00:10::2" },
    far: { ip: "10.0.0.1", ip6: "fd00:10::1" },
    routes: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7"],
  },
  outside: {
    to: "outside",
    name: "eth1",
    near: { ip: "198.51.100.2", ip6: "2001:db8::2" },
    far: { ip: "198.51.100.1", ip6: "2001:db8::1" },
    routes: ["0.0.0.0/0", "::/0"],
  },
} as const satisfies Record<Link["to"], Link>;

/** The family of an address or of a CIDR. */
export function familyOf(address: string): Family {
  return address.includes(":") ? "ip6" : "ip";
}

// The functions below return lines for `ip -batch`.

/** Makes the namespaces. */
export function namespaces(): string[] {
  return NAMESPACES.map(name => `netns add ${name}`);
}

/** Makes the veth pairs, with their ends in the namespaces. */
export function veths(): string[] {
  return Object.values(LINKS).map(link => {
    const near = `name ${link.name} netns node address ${mac(link, "near")}`;
    const far = `name eth0 netns ${link.to} address ${mac(link, "far")}`;
    return `link add ${near} type veth peer ${far}`;
  });
}

/**
 * Sets addresses, neighbours and routes in one namespace. The routes are `onlink`, because IPv6 refuses other routes
 * until the far end of the veth pair is up.
 */
export function routing(namespace: NamespaceName, family: Family): string[] {
  if (namespace === "node") {
    return ["link set lo up", ...Object.values(LINKS).flatMap(link => nodeEnd(link, family))];
  }
  const link = LINKS[namespace];
  const farEnd = [
    "link set lo up",
    "link set eth0 up",
    `address add ${link.far[family]} peer ${link.near[family]} dev eth0`,
    `neighbour add ${link.near[family]} lladdr ${mac(link, "near")} dev eth0`,
    `route add default via ${link.near[family]} dev eth0 onlink`,
  ];
  return namespace === "pod" ? farEnd : [...farEnd, ...ANY_ADDRESS[family]];
}

/** Routes a CIDR to the far end of a link, on the node. */
export function route(cidr: string, to: Link["to"]): string {
  const link = LINKS[to];
  return `route replace ${cidr} via ${link.far[familyOf(cidr)]} dev ${link.name} onlink`;
}

/** Gives the Pod another address, and the node its route. A preferred lifetime of 0 keeps it from being a default. */
export function podAddress(address: string): Record<"pod" | "node", string> {
  const host = familyOf(address) === "ip" ? 32 : 128;
  return {
    pod: `address add ${address}/${host} dev eth0 preferred_lft 0`,
    node: route(`${address}/${host}`, "pod"),
  };
}

/** The sysctls of a namespace, as lines of a value and a file under /proc/sys/net. */
export function sysctls(namespace: NamespaceName): string[] {
  return namespace === "node" ? [...EVERYWHERE, ...FORWARDING] : EVERYWHERE;
}

function nodeEnd(link: Link, family: Family): string[] {
  return [
    `link set ${link.name} up`,
    `address add ${link.near[family]} peer ${link.far[family]} dev ${link.name}`,
    `neighbour add ${link.far[family]} lladdr ${mac(link, "far")} dev ${link.name}`,
    ...link.routes.filter(cidr => familyOf(cidr) === family).map(cidr => route(cidr, link.to)),
  ];
}

/** Fixed, so that neighbours are known in advance: nothing waits for ARP or neighbour discovery. */
function mac(link: Link, end: "near" | "far"): string {
  return `02:00:00:00:0${Object.keys(LINKS).indexOf(link.to)}:0${end === "near" ? 1 : 2}`;
}

/**
 * Lets a server take packets for any address, answer from it, and send its answers through the node. IPv4 needs the
 * source of an answer in the table `local`, so outgoing packets skip that table. IPv6 does not need this, but outgoing
 * packets need the multicast routes of `local`.
 */
const ANY_ADDRESS: Record<Family, string[]> = {
  ip: [
    "rule add preference 10 iif eth0 lookup local",
    "rule add preference 20 lookup main",
    "route add local 0.0.0.0/0 dev lo table local",
    "rule delete preference 0",
  ],
  ip6: ["route add local ::/0 dev lo table 100", "rule add preference 10 iif eth0 lookup 100"],
};

/** Written before the interfaces exist; these inherit `default`. */
const EVERYWHERE = [
  "0 ipv4/conf/all/rp_filter",
  "0 ipv4/conf/default/rp_filter",
  "0 ipv6/conf/all/disable_ipv6",
  "0 ipv6/conf/default/disable_ipv6",
  "0 ipv6/conf/default/accept_dad",
  "0 ipv6/conf/default/accept_ra",
];

/**
 * Timeouts in seconds. With the default of 30 s for UDP, 20,000 flows per second fill a table of 262,144 connections
 * in 13 s. With `tcp_loose` a late packet of a forgotten TCP connection would count as a new connection.
 */
const FORWARDING = [
  "1 ipv4/ip_forward",
  "1 ipv6/conf/all/forwarding",
  "0 netfilter/nf_conntrack_tcp_loose",
  "1 netfilter/nf_conntrack_udp_timeout",
  "1 netfilter/nf_conntrack_udp_timeout_stream",
  "1 netfilter/nf_conntrack_tcp_timeout_time_wait",
  "1 netfilter/nf_conntrack_icmp_timeout",
  "1 netfilter/nf_conntrack_icmpv6_timeout",
];
