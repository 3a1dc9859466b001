/**
 * Changes by other programs to ipmasq's table: nft commands that each change its content. The first policy's set is
 * `non-masquerade-a`.
 */
export const NFT_TAMPERING: readonly string[] = [
  "flush ruleset",
  "delete table ip ip-masq-agent",
  "flush table ip ip-masq-agent",
  "flush chain ip ip-masq-agent postrouting",
  "flush chain ip ip-masq-agent IP-MASQ-AGENT",
  "flush chain ip ip-masq-agent postrouting; delete chain ip ip-masq-agent postrouting",
  "flush set ip ip-masq-agent non-masquerade-a",
  "delete element ip ip-masq-agent non-masquerade-a { 10.0.0.0/8 }",
  "add element ip ip-masq-agent non-masquerade-a { 203.0.113.0/24 }",
  'delete element ip ip-masq-agent non-masquerade-a { 10.0.0.0/8 }; add element ip ip-masq-agent non-masquerade-a { 10.0.0.0/8 comment "mine" }',
  "add rule ip ip-masq-agent postrouting accept",
  "insert rule ip ip-masq-agent postrouting ip daddr 203.0.113.0/24 return",
  "insert rule ip ip-masq-agent IP-MASQ-AGENT tcp dport { 80, 443 } masquerade to :1024-2047 persistent",
  "add rule ip ip-masq-agent IP-MASQ-AGENT meta mark vmap { 1 : accept, 2 : drop }",
  "add rule ip ip-masq-agent IP-MASQ-AGENT ip saddr . ip daddr { 10.0.0.1 . 10.0.0.2 } snat to 10.0.0.3",
  "add chain ip ip-masq-agent postrouting { policy drop; }",
  "flush chain ip ip-masq-agent postrouting; delete chain ip ip-masq-agent postrouting; add chain ip ip-masq-agent postrouting { type nat hook postrouting priority 90; }; add rule ip ip-masq-agent postrouting fib daddr type != local jump IP-MASQ-AGENT",
  "add table ip ip-masq-agent { flags dormant; }",
  "add chain ip ip-masq-agent theirs",
  "add chain ip ip-masq-agent theirs { type filter hook forward priority 0; policy drop; }",
  "add chain ip ip-masq-agent theirs; add rule ip ip-masq-agent postrouting jump theirs; add rule ip ip-masq-agent theirs jump IP-MASQ-AGENT",
  "add set ip ip-masq-agent theirs { type ipv4_addr; }; add rule ip ip-masq-agent postrouting ip daddr @theirs return",
  "add set ip ip-masq-agent theirs { type ipv4_addr . inet_service; flags interval, timeout; }",
  "add set ip ip-masq-agent non-masquerade-b { type ipv4_addr; flags interval; elements = { 0.0.0.0/0 }; }; add rule ip ip-masq-agent postrouting ip daddr @non-masquerade-b return",
  "add map ip ip-masq-agent theirs { type ipv4_addr : verdict; elements = { 203.0.113.1 : drop }; }; add rule ip ip-masq-agent postrouting ip daddr vmap @theirs",
  "add counter ip ip-masq-agent theirs; add rule ip ip-masq-agent postrouting counter name theirs",
  "add chain ip ip-masq-agent theirs; add map ip ip-masq-agent theirs { type ipv4_addr : verdict; elements = { 203.0.113.1 : jump theirs }; }",
  'add counter ip ip-masq-agent theirs; add map ip ip-masq-agent those { type ipv4_addr : counter; elements = { 203.0.113.1 : "theirs" }; }',
  "add set ip ip-masq-agent source-a { typeof ip saddr; flags interval; elements = { 10.244.0.0/16 }; }; insert rule ip ip-masq-agent postrouting ip saddr != @source-a return",
  "add rule ip ip-masq-agent IP-MASQ-AGENT jump { ip saddr 10.0.0.1 drop; }",
];

/** The same for ipmasq's chain and jump in iptables. */
const IPTABLES_TAMPERING: readonly string[] = [
  "-F",
  "-F IP-MASQ-AGENT",
  "-F POSTROUTING",
  "-D IP-MASQ-AGENT 1",
  "-I IP-MASQ-AGENT -d 203.0.113.0/24 -j RETURN",
  "-A IP-MASQ-AGENT -j ACCEPT",
  "-R IP-MASQ-AGENT 1 -d 10.0.0.0/9 -j RETURN",
  "-A POSTROUTING -j IP-MASQ-AGENT",
  "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT",
  "-I POSTROUTING -s 10.0.0.0/8 -g IP-MASQ-AGENT",
  "-N OLD-MASQ; -A OLD-MASQ -m comment --comment 'ip-masq-agent: outbound traffic' -j MASQUERADE; -A POSTROUTING -m comment --comment 'ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom OLD-MASQ chain' -j OLD-MASQ",
];

/** @param program the iptables command */
export function iptablesTampering(program: string): string[][] {
  return IPTABLES_TAMPERING.map(line => [
    "sh",
    "-c",
    line
      .split("; ")
      .map(command => `${program} -t nat ${command}`)
      .join(" && "),
  ]);
}

/** The same as nft commands. */
export const NAT_TAMPERING: readonly string[] = [
  "flush ruleset",
  "delete table ip nat",
  "flush chain ip nat IP-MASQ-AGENT",
  "flush chain ip nat POSTROUTING",
  "flush table ip nat",
  "add rule ip nat IP-MASQ-AGENT accept",
  "insert rule ip nat IP-MASQ-AGENT ip daddr 203.0.113.0/24 return",
  "add rule ip nat POSTROUTING jump IP-MASQ-AGENT",
  "add rule ip nat POSTROUTING fib daddr type != local jump IP-MASQ-AGENT",
  'add chain ip nat OLD-MASQ; add rule ip nat OLD-MASQ counter masquerade comment "ip-masq-agent: outbound traffic"; add rule ip nat POSTROUTING jump OLD-MASQ comment "ip-masq-agent: ensure nat POSTROUTING directs all traffic to our custom OLD-MASQ chain"',
];
