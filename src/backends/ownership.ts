/** Names and comments that identify rules in the kernel as ours, including those of an earlier ip-masq-agent. */
import type { Family } from "../net/cidr.ts";
import type { ParseFailure } from "../net/parse-failure.ts";
import { COMMENTS } from "../policy/decision.ts";
import { ProgramError } from "../system/program.ts";

/** The name of our nftables table, in each family. */
export const TABLE = "ip-masq-agent";

/**
 * The priority of the chain in this table that binds kept connections: before kube-proxy, CNI plugins and iptables
 * (100), and before kindnet, which masquerades at 90 or 95.
 */
export const ENFORCE_PRIORITY = 80;

/** The default chain of ip-masq-agent and ipmasq. This chain is ours even if it contains other rules. */
export const DEFAULT_CHAIN = "IP-MASQ-AGENT";

/** The start of the comment on every rule of ip-masq-agent and ipmasq. */
export const COMMENT = "ip-masq-agent: ";

/**
 * Whether ipmasq, ip-masq-agent or GKE's node start-up script writes a comment with exactly this text. A comment with
 * only the same start does not count.
 */
export function isOurComment(comment = ""): boolean {
  return OURS.test(comment);
}

/** The comment on rules for packets with a mark of `foreignMasqueradeMarks`, after {@link COMMENT}. */
export const FOREIGN_MARKED = "packets that foreign rules masquerade by their mark";

/** Occurs in the comments of ip-masq-agent, and not in ours. */
const UPSTREAM = " subject to MASQUERADE";

/** ip-masq-agent puts the comment of its jump into double quotes, which become part of the comment. */
const OURS = new RegExp(
  `^"?ip-masq(-agent)?: (${[
    "ensure nat POSTROUTING directs .*",
    `(\\S+ )*(is not|is|should not be|should be)${UPSTREAM}.*`,
    ...Object.values(COMMENTS),
    `${COMMENTS.outbound} from ports [\\d-]+`,
    "sources and interfaces that are (masqueraded|kept)",
    FOREIGN_MARKED,
  ].join("|")})"?$`,
);

/** Whether a rule with this comment exempts traffic that is never masqueraded. Counters leave these rules out. */
export function isExemption(comment = ""): boolean {
  return comment.endsWith(" is never masqueraded");
}

/** Whether the text of a rule has a comment that ip-masq-agent writes and ipmasq does not. */
export function isUpstreamText(rule: string): boolean {
  return hasComment(rule) && rule.includes(UPSTREAM);
}

/** Whether the text of a rule has a comment of ipmasq. */
export function isOwnText(rule: string): boolean {
  return hasComment(rule) && !rule.includes(UPSTREAM);
}

function hasComment(rule: string): boolean {
  return rule.includes(`comment "${COMMENT}`);
}

/** The chain of a policy in table `nat` and its helper chains. The chains of the policy come first. */
export function ownChainNames(chain = DEFAULT_CHAIN): readonly [chain: string, ...helpers: string[]] {
  return [chain, ...helperChains(chain)];
}

/**
 * The helper chains that the chain of a policy may need in table `nat`. The first has the verdicts after a check of
 * sources and interfaces, the second masquerades. The third binds kept connections to their source, the last does so
 * after a check of sources and interfaces. Their names have at most 28 bytes, the limit of iptables.
 */
export function helperChains(
  chain: string,
): readonly [verdicts: string, outbound: string, enforce: string, enforceDestinations: string] {
  const helper = (suffix: string) => {
    const name = `${chain.slice(0, 24)}${suffix}`;
    return name === chain ? name.toLowerCase() : name;
  };
  return [helper("-DST"), helper("-OUT"), helper("-ENF"), helper("-EDS")];
}

/** Parses the name of a policy's chain. iptables and nft accept it, also when they load their own listing. */
export function parseChainName(text: string): string | ParseFailure {
  const unquoted = /^(["'])(.+)\1$/.exec(text)?.[2]; // from `args: [--masq-chain="X"]` in YAML
  if (unquoted !== undefined) {
    return { what: `${text} contains quotes`, remedy: `did you mean ${unquoted}?` };
  }
  if (!/^[A-Za-z_][\w.-]{0,27}$/.test(text)) {
    return {
      what: `"${text}" is not a valid chain name`,
      remedy: 'write 1 to 28 letters, digits, "-", "_" or ".", starting with a letter or "_"',
    };
  }
  if (TAKEN.test(text) || KEYWORDS.has(text)) {
    return { what: `"${text}" is a reserved word`, remedy: "choose another name" };
  }
  return text;
}

/** Targets of iptables, built-in chains, and the other chains of our table. */
const TAKEN =
  /^(accept|drop|queue|return|masquerade|snat|dnat|(pre|post)routing|input|output|forward|outbound|enforce|leaks)$/i;

/** Keywords of nft, which it does not accept as names of chains (found by trial with nft 1.0.6 and 1.1.7). */
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

/** Only the process that made a table with the flag owner can change it. */
export function ownerError(family: Family): ProgramError {
  const what = `table ${family} ${TABLE} has the flag owner, so only the process that made it can change it`;
  const remedy = "end that process, such as a running nft -i; the kernel then deletes the table";
  return new ProgramError("busy", "nft", what, remedy);
}
