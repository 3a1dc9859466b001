import { kubeProxyIptables, kubeProxyNft } from "./kube-proxy.ts";
import { bridgedPods, docker, masqueraders } from "./masquerading.ts";
import type { Start } from "./neighbour.ts";
import { cniPlugins, firewalld, ipMasqAgent, masquerader, secondAgent } from "./programs.ts";

/** lab/isolate mounts an empty /run. */
export const FOLDER = "/run/neighbours";
export const CONFIG = `${FOLDER}/ip-masq-agent`;
/** The config of a second agent. */
export const OTHER_CONFIG = `${FOLDER}/other`;

/** Flags of the agent. */
export const FLAGS = ["--enable-ipv6"];

/** CIDRs of ip-masq-agent: the agent's IPv4 CIDRs, or fewer. */
const SAME_CIDRS = ["10.0.0.0/8", "192.168.0.0/16"];
const OTHER_CIDRS = ["10.0.0.0/8"];

/** A neighbour with the expected results. */
export interface Case {
  readonly neighbour: string;
  readonly start: Start;
  /** The names of the agent's writers. */
  readonly beside: readonly string[];
  /** Whether the agent's config stays unchanged. */
  readonly still?: true;
  /** A text that the agent's log must contain at the end. */
  readonly says?: string;
  /** The maximum number of repairs; without it, any number is accepted. */
  readonly repairs?: number;
  /** Whether it deletes all programs' rules; until the repair, nothing is masqueraded. */
  readonly flushes?: true;
  /** The expected harm to its rules; by default none. */
  readonly harm?: string;
  /** Whether the configs set `enforceNonMasquerade`. */
  readonly enforce?: true;
  /** Whether it is a control, which must cause wrong verdicts. */
  readonly control?: true;
}

type Row = readonly [
  neighbour: string,
  start: Start,
  beside: readonly string[],
  expected: Omit<Case, "neighbour" | "start" | "beside">,
];

const REPLACED = {
  still: true,
  says: "another ip-masq-agent is running; remove it",
  harm: "ipmasq replaces its chain",
} as const;

const ROWS: readonly Row[] = [
  ["kube-proxy, nftables", kubeProxyNft, ["nftables", "iptables-nft"], { repairs: 0 }],
  [
    "kube-proxy, iptables-nft",
    kubeProxyIptables("iptables-nft"),
    ["nftables", "iptables-nft"],
    { repairs: 0 },
  ],
  ["kube-proxy, iptables-legacy", kubeProxyIptables("iptables-legacy"), ["iptables-legacy"], { repairs: 0 }],
  ["firewalld with nftables, reloads", firewalld("nftables"), ["nftables"], { repairs: 0 }],
  ["firewalld with nftables, reloads", firewalld("nftables"), ["iptables-nft"], { flushes: true }],
  ["firewalld with iptables, reloads", firewalld("iptables"), ["nftables"], { repairs: 0 }],
  ["CNI plugins bridge and portmap", cniPlugins, ["nftables", "iptables-nft"], { repairs: 0 }],
  [
    "a second ipmasq with the same config",
    secondAgent([`--config=${CONFIG}`, ...FLAGS]),
    ["nftables"],
    { repairs: 0 },
  ],
  [
    "a second ipmasq with another config and backend",
    secondAgent([`--config=${OTHER_CONFIG}`, "--backend=iptables"]),
    ["nftables"],
    { repairs: 0 },
  ],
  // Its chain lacks the rules for IPsec, multicast and broadcast.
  ["ip-masq-agent with the same CIDRs", ipMasqAgent("iptables-nft", SAME_CIDRS), ["iptables-nft"], REPLACED],
  [
    "ip-masq-agent with fewer CIDRs",
    ipMasqAgent("iptables-nft", OTHER_CIDRS),
    ["nftables"],
    { still: true, says: 'owner="another ip-masq-agent"', repairs: 0 },
  ],
  ["ip-masq-agent with fewer CIDRs", ipMasqAgent("iptables-nft", OTHER_CIDRS), ["iptables-nft"], REPLACED],
  [
    "flannel, CNI bridge, Docker, kindnet: rules that masquerade kept addresses",
    masqueraders("nftables"),
    ["nftables"],
    { enforce: true, repairs: 0 },
  ],
  [
    "flannel and CNI bridge: rules that masquerade kept addresses",
    masqueraders("iptables-nft"),
    ["iptables-nft"],
    { enforce: true },
  ],
  ["dockerd, restarts; its network keeps addresses", docker, ["nftables", "iptables-nft"], { enforce: true }],
  [
    "CNI plugin bridge with ipMasq; its Pods keep addresses",
    bridgedPods,
    ["nftables", "iptables-nft"],
    { enforce: true },
  ],
  ["control: masquerades a kept address", masquerader, ["nftables"], { control: true }],
];

export const CASES: readonly Case[] = ROWS.map(([neighbour, start, beside, expected]) => ({
  neighbour,
  start,
  beside,
  ...expected,
}));
