import { kubeProxyIptables, kubeProxyNft } from "./kube-proxy.ts";
import type { Start } from "./neighbour.ts";
import { cniPlugins, firewalld, ipMasqAgent, masquerader, secondAgent } from "./programs.ts";

/** In the empty /run of lab/isolate. */
export const FOLDER = "/run/neighbours";
export const CONFIG = `${FOLDER}/ip-masq-agent`;
/** For a second agent. */
export const OTHER_CONFIG = `${FOLDER}/other`;

/** Of our agent. */
export const FLAGS = ["--enable-ipv6"];

/** As ip-masq-agent has them: as ours are, but for IPv6, or not. */
const SAME_CIDRS = ["10.0.0.0/8", "192.168.0.0/16"];
const OTHER_CIDRS = ["10.0.0.0/8"];

/** A neighbour, and what is expected of it and of us. */
export interface Case {
  readonly neighbour: string;
  readonly start: Start;
  /** Names of WRITERS: what ours writes with. */
  readonly beside: readonly string[];
  /** Whether our config stays as it is. */
  readonly still?: true;
  /** What our agent's log has to say in the end. */
  readonly says?: string;
  /** How often ours may repair its rules at most; any number if left out. */
  readonly repairs?: number;
  /** It takes everybody's rules away, and until ours are there again nothing is masqueraded. */
  readonly flushes?: true;
  /** What became of its rules, where it is not meant to keep them. */
  readonly harm?: string;
  /** It is there to be seen to do harm. */
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
    // Its chain has no rules for IPsec, multicast and broadcast.
    start: ipMasqAgent("iptables-nft", SAME_CIDRS),
    beside: ["iptables-nft"],
    still: true,
    says: "another ip-masq-agent is running; remove it",
    harm: "its chain is ours",
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
    harm: "its chain is ours",
  },
  {
    neighbour: "control: masquerades a kept address",
    start: masquerader,
    beside: ["nftables"],
    control: true,
  },
];
