import { kubeProxyIptables, kubeProxyNft } from "./kube-proxy.ts";
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
  /** Whether it is a control, which must cause wrong verdicts. */
  readonly control?: true;
}

export const CASES: readonly Case[] = [
  {
    neighbour: "kube-proxy, nftables",
    start: kubeProxyNft,
    beside: ["nftables", "iptables-nft"],
    repairs: 0,
  },
  {
    neighbour: "kube-proxy, iptables-nft",
    start: kubeProxyIptables("iptables-nft"),
    beside: ["nftables", "iptables-nft"],
    repairs: 0,
  },
  {
    neighbour: "kube-proxy, iptables-legacy",
    start: kubeProxyIptables("iptables-legacy"),
    beside: ["iptables-legacy"],
    repairs: 0,
  },
  {
    neighbour: "firewalld with nftables, reloads",
    start: firewalld("nftables"),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "firewalld with nftables, reloads",
    start: firewalld("nftables"),
    beside: ["iptables-nft"],
    flushes: true,
  },
  {
    neighbour: "firewalld with iptables, reloads",
    start: firewalld("iptables"),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "CNI plugins bridge and portmap",
    start: cniPlugins,
    beside: ["nftables", "iptables-nft"],
    repairs: 0,
  },
  {
    neighbour: "a second ipmasq with the same config",
    start: secondAgent([`--config=${CONFIG}`, ...FLAGS]),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "a second ipmasq with another config and backend",
    start: secondAgent([`--config=${OTHER_CONFIG}`, "--backend=iptables"]),
    beside: ["nftables"],
    repairs: 0,
  },
  {
    neighbour: "ip-masq-agent with the same CIDRs",
    // Its chain lacks the rules for IPsec, multicast and broadcast.
    start: ipMasqAgent("iptables-nft", SAME_CIDRS),
    beside: ["iptables-nft"],
    still: true,
    says: "another ip-masq-agent is running; remove it",
    harm: "ipmasq replaces its chain",
  },
  {
    neighbour: "ip-masq-agent with fewer CIDRs",
    start: ipMasqAgent("iptables-nft", OTHER_CIDRS),
    beside: ["nftables"],
    still: true,
    says: 'owner="another ip-masq-agent"',
    repairs: 0,
  },
  {
    neighbour: "ip-masq-agent with fewer CIDRs",
    start: ipMasqAgent("iptables-nft", OTHER_CIDRS),
    beside: ["iptables-nft"],
    still: true,
    says: "another ip-masq-agent is running; remove it",
    harm: "ipmasq replaces its chain",
  },
  {
    neighbour: "control: masquerades a kept address",
    start: masquerader,
    beside: ["nftables"],
    control: true,
  },
];
