/** Rules of programs that masquerade the Pod's connections, and rules of kube-proxy and portmap, as they write them. */
import type { Lab } from "../../lab/lab.ts";

/** The program that writes the rules. */
export type Tool = "nft" | "iptables-nft" | "iptables-legacy";

/** A program whose rules masquerade connections that the default policy keeps. */
export interface Masquerader {
  readonly name: string;
  /** Writes its rules; more than once, it changes nothing. */
  write(lab: Lab): Promise<unknown>;
  remove(lab: Lab): Promise<unknown>;
  /** Whether it inserts its rule before all others. */
  readonly inserts: boolean;
  /** The priority of its chain. */
  readonly priority: number;
}

const PODS = { ip: "10.244.0.0/16", ip6: "fd00:10:244::/48" } as const;
const NODE_PODS = { ip: "10.244.1.0/24", ip6: "fd00:10:244:1::/64" } as const;
const MANY = { ip: "224.0.0.0/4", ip6: "ff00::/8" } as const;

type Family = keyof typeof PODS;

/** Rules of table nat, in POSTROUTING and in further chains. */
interface NatRules {
  readonly chains: readonly string[];
  readonly rules: (family: Family) => readonly string[];
}

const FLANNEL: NatRules = {
  chains: ["FLANNEL-POSTRTG"],
  rules: family => [
    '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
    "-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN",
    `-A FLANNEL-POSTRTG -s ${NODE_PODS[family]} -d ${PODS[family]} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${PODS[family]} -d ${NODE_PODS[family]} -j RETURN`,
    `-A FLANNEL-POSTRTG ! -s ${PODS[family]} -d ${NODE_PODS[family]} -j RETURN`,
    `-A FLANNEL-POSTRTG -s ${PODS[family]} ! -d ${MANY[family]} -j MASQUERADE --random-fully`,
    `-A FLANNEL-POSTRTG ! -s ${PODS[family]} -d ${PODS[family]} -j MASQUERADE --random-fully`,
  ],
};

const BRIDGE: NatRules = {
  chains: ["CNI-0123456789abcdef"],
  rules: family => [
    `-A POSTROUTING -s ${NODE_PODS[family]} -j CNI-0123456789abcdef`,
    `-A CNI-0123456789abcdef -d ${NODE_PODS[family]} -j ACCEPT`,
    `-A CNI-0123456789abcdef ! -d ${MANY[family]} -j MASQUERADE`,
  ],
};

/** Docker inserts its rule before all others. */
const DOCKER: NatRules = {
  chains: [],
  rules: family => [`-I POSTROUTING -s ${NODE_PODS[family]} ! -o docker0 -j MASQUERADE`],
};

/** Programs that write to table nat with a variant of iptables. */
export function iptablesMasqueraders(tool: Exclude<Tool, "nft">): Masquerader[] {
  return Object.entries({ flannel: FLANNEL, "the bridge plugin": BRIDGE, Docker: DOCKER }).map(
    ([name, rules]) => ({
      name,
      priority: 100,
      inserts: rules === DOCKER,
      write: lab => restore(lab, tool, family => natInput(rules.chains, rules.rules(family))),
      remove: lab => restore(lab, tool, family => removal(rules, family)),
    }),
  );
}

function natInput(chains: readonly string[], rules: readonly string[]): string {
  return ["*nat", ...chains.map(it => `:${it} - [0:0]`), ...rules, "COMMIT", ""].join("\n");
}

function removal({ chains, rules }: NatRules, family: Family): string {
  const own = rules(family).filter(rule => / POSTROUTING /.test(rule));
  const deletions = own.map(rule => rule.replace(/^-[AI]/, "-D"));
  return natInput(chains, [...deletions, ...chains.map(it => `-X ${it}`)]);
}

async function restore(lab: Lab, tool: string, input: (family: Family) => string): Promise<void> {
  const suffix = tool.slice("iptables".length);
  for (const [family, program] of [
    ["ip", "iptables"],
    ["ip6", "ip6tables"],
  ] as const) {
    await lab.node.output([`${program}${suffix}-restore`, "-w", "5", "--noflush"], { input: input(family) });
  }
}

/** Programs with their own tables. */
export const TABLES: readonly Masquerader[] = [
  table("kindnet", 90, "inet kindnet-ipmasq", [
    "ct state established,related accept",
    "fib daddr type local accept",
    "ip daddr 10.244.0.0/16 accept",
    "masquerade",
  ]),
  table("flannel with nftables", 100, "inet flannel-ipv4-and-6", [
    "meta mark & 0x4000 == 0x4000 return",
    `ip saddr ${PODS.ip} ip daddr != ${MANY.ip} masquerade fully-random`,
    `ip6 saddr ${PODS.ip6} ip6 daddr != ${MANY.ip6} masquerade fully-random`,
  ]),
  table("a chain at our own priority", 101, "inet theirs", ["masquerade"]),
];

function table(name: string, priority: number, table: string, rules: readonly string[]): Masquerader {
  const chain = `chain postrouting { type nat hook postrouting priority ${priority}; ${rules.join("; ")}; }`;
  const anew = `table ${table}; delete table ${table};`;
  return {
    name,
    priority,
    inserts: false,
    write: lab => lab.node.output(["nft", `${anew} table ${table} { ${chain}; }`]),
    remove: lab => lab.node.output(["nft", `delete table ${table}`]),
  };
}

/** The endpoint of Services outside of this node. */
const ENDPOINT = "10.1.2.3";

export const SERVICES = {
  clusterIP: "10.96.0.10",
  /** Its only endpoint is the Pod. */
  own: "10.96.0.11",
  /** The first of several ports of each kind. All go to the same port of an endpoint: the Pod, or ENDPOINT. */
  nodePorts: 30_080,
  remoteNodePorts: 30_180,
  hostPorts: 30_280,
} as const;

const SOME_PORTS = 10;

/**
 * kube-proxy's rules for Services with these addresses and ports, with `externalTrafficPolicy: Cluster`, and portmap's
 * for hostPorts of the Pod.
 */
export async function writeServices(lab: Lab, tool: Tool): Promise<void> {
  const pod = lab.links.pod.far.ip;
  if (tool === "nft") await lab.node.output(["nft", "-f", "-"], { input: servicesByNft(pod) });
  else {
    const suffix = tool.slice("iptables".length);
    const argv = [`iptables${suffix}-restore`, "-w", "5", "--noflush"];
    await lab.node.output(argv, { input: servicesByIptables(pod) });
  }
}

const { clusterIP, own, nodePorts, remoteNodePorts, hostPorts } = SERVICES;

function servicesByNft(pod: string): string {
  const ports = (first: number) => `meta l4proto { tcp, udp } th dport ${first}-${first + SOME_PORTS}`;
  return `
table ip kube-proxy {
  chain mark-for-masquerade { meta mark set meta mark or 0x4000; }
  chain masquerading {
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
  chain services {
    ip daddr ${clusterIP} dnat to ${ENDPOINT}
    ip daddr ${own} ip saddr ${pod} jump mark-for-masquerade
    ip daddr ${own} dnat to ${pod}
    fib daddr type local ${ports(nodePorts)} jump mark-for-masquerade
    fib daddr type local ${ports(nodePorts)} dnat to ${pod}
    fib daddr type local ${ports(remoteNodePorts)} jump mark-for-masquerade
    fib daddr type local ${ports(remoteNodePorts)} dnat to ${ENDPOINT}
  }
  chain nat-prerouting { type nat hook prerouting priority -100; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
  chain nat-postrouting { type nat hook postrouting priority 100; jump masquerading; }
}
table ip cni_hostport {
  chain hostports {
    ip saddr ${pod} ${ports(hostPorts)} meta mark set meta mark or 0x2000
    ${ports(hostPorts)} dnat to ${pod}
  }
  chain prerouting { type nat hook prerouting priority -100; fib daddr type local jump hostports; }
  chain masquerading { type nat hook postrouting priority 100; meta mark & 0x2000 == 0x2000 masquerade; }
}
`;
}

function servicesByIptables(pod: string): string {
  const local = "-m addrtype --dst-type LOCAL";
  const each = (rule: (protocol: string) => string) => ["tcp", "udp"].map(it => `-A ${rule(it)}`);
  const to = (first: number) => `--dport ${first}:${first + SOME_PORTS}`;
  const chains = ["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"];
  const hostChains = ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"];
  return [
    "*nat",
    ...[...chains, ...hostChains].map(it => `:${it} - [0:0]`),
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000",
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000",
    "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    `-A KUBE-SERVICES -d ${clusterIP} -j DNAT --to-destination ${ENDPOINT}`,
    `-A KUBE-SERVICES -d ${own} -s ${pod} -j KUBE-MARK-MASQ`,
    `-A KUBE-SERVICES -d ${own} -j DNAT --to-destination ${pod}`,
    ...each(it => `KUBE-SERVICES -p ${it} ${local} -m ${it} ${to(nodePorts)} -j KUBE-MARK-MASQ`),
    ...each(
      it => `KUBE-SERVICES -p ${it} ${local} -m ${it} ${to(nodePorts)} -j DNAT --to-destination ${pod}`,
    ),
    ...each(it => `KUBE-SERVICES -p ${it} ${local} -m ${it} ${to(remoteNodePorts)} -j KUBE-MARK-MASQ`),
    ...each(
      it =>
        `KUBE-SERVICES -p ${it} ${local} -m ${it} ${to(remoteNodePorts)} -j DNAT --to-destination ${ENDPOINT}`,
    ),
    "-A CNI-HOSTPORT-SETMARK -j MARK --or-mark 0x2000",
    "-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE",
    ...each(it => `CNI-HOSTPORT-DNAT -p ${it} -s ${pod} -m ${it} ${to(hostPorts)} -j CNI-HOSTPORT-SETMARK`),
    ...each(it => `CNI-HOSTPORT-DNAT -p ${it} -m ${it} ${to(hostPorts)} -j DNAT --to-destination ${pod}`),
    ...["PREROUTING", "OUTPUT"].map(it => `-A ${it} -j KUBE-SERVICES`),
    `-A PREROUTING ${local} -j CNI-HOSTPORT-DNAT`,
    "-I POSTROUTING -j CNI-HOSTPORT-MASQ",
    "-I POSTROUTING -j KUBE-POSTROUTING",
    "COMMIT",
    "",
  ].join("\n");
}
