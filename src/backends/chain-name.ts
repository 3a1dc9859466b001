import type { ParseFailure } from "../net/parse-failure.ts";

/**
 * Reads the name of the chain that holds the verdicts: one that iptables (28 bytes at most) and nft both take,
 * and both can load again after they listed it.
 */
export function parseChainName(text: string): string | ParseFailure {
  const unquoted = /^(["'])(.+)\1$/.exec(text)?.[2]; // of args: [masq-chain="X"] in YAML
  if (unquoted !== undefined) {
    return { what: `${text} has quotes in it`, remedy: `did you mean ${unquoted}?` };
  }
  if (!/^[A-Za-z_][\w.-]{0,27}$/.test(text)) {
    return {
      what: `"${text}" is not a name for a chain`,
      remedy: 'write 1 to 28 letters, digits, "-", "_" or ".", a letter first',
    };
  }
  if (TAKEN.test(text) || KEYWORDS.has(text)) {
    return { what: `"${text}" is a reserved word`, remedy: "choose another name" };
  }
  return text;
}

/** Targets of iptables, built-in chains, and the other chains of our table. */
const TAKEN =
  /^(accept|drop|queue|return|masquerade|snat|dnat|(pre|post)routing|input|output|forward|outbound)$/i;

/**
 * Words that nft reads as its own where the name of a chain is due. Found by trying each word of the manual with
 * `nft add chain`, by nft 1.0.6 and 1.1.7.
 */
const KEYWORDS: ReadonlySet<string> = new Set(
  `
  accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu
  create ct day dccp define delete describe destroy device devices dnat drop dst dup dynamic ecn element
  elements eq esp ether exists expires export exthdr fib flags flow flowtable flush frag fwd gc-interval
  ge geneve get goto gre gretap gt handle hbh hook hour ibriport ibrname icmp icmpv6 igmp iif iifgroup
  iifname iiftype import include index inet insert interval ip ip6 ipsec jhash jump le limit list log lt
  map mark masquerade meta meter mh missing monitor ne netdev nftrace not notrack numgen obriport obrname
  offload oif oifgroup oifname oiftype or osf pkttype policy position priority queue quota random redefine
  redirect reject rename replace reset return rt rt0 rt2 rtclassid rule ruleset sctp secmark set size
  skgid skuid snat socket srh symhash synproxy table tcp th time timeout tproxy tunnel type typeof udp
  udplite undefine update vlan vmap vni vxlan xt
  `
    .trim()
    .split(/\s+/),
);
