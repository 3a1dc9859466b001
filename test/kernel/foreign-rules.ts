import { GENERATIONS } from "../../src/backends/nftables/generations.ts";

/** States of ipmasq's table that another program caused, with the commands that cause them. */
export const STATES: readonly (readonly [string, string])[] = [
  [
    "foreign rules that use the spare sets, and a foreign element in the current set",
    `add set ip ip-masq-agent non-masquerade-b { type ipv4_addr; flags interval; }
     add set ip ip-masq-agent non-masquerade-c { type ipv4_addr; flags interval; }
     add chain ip ip-masq-agent mine
     add rule ip ip-masq-agent mine ip daddr @non-masquerade-b accept
     add rule ip ip-masq-agent mine ip daddr @non-masquerade-c accept
     add element ip ip-masq-agent non-masquerade-a { 198.51.100.0/24 }`,
  ],
  [
    "foreign rules that use a set of every generation",
    `add chain ip ip-masq-agent mine
     ${GENERATIONS.slice(1)
       .map(
         generation => `add set ip ip-masq-agent non-masquerade-${generation} { type ipv4_addr; flags interval; }
     add rule ip ip-masq-agent mine ip daddr @non-masquerade-${generation} accept`,
       )
       .join("\n     ")}
     add element ip ip-masq-agent non-masquerade-a { 198.51.100.0/24 }`,
  ],
  [
    "maps instead of sets",
    `${GENERATIONS.slice(1)
      .map(
        generation => `add map ip ip-masq-agent non-masquerade-${generation} { type ipv4_addr : verdict; }`,
      )
      .join("\n     ")}
     add element ip ip-masq-agent non-masquerade-a { 198.51.100.0/24 }`,
  ],
  ["an empty dormant table", "delete table ip ip-masq-agent; add table ip ip-masq-agent { flags dormant; }"],
  ["a dormant table", "add table ip ip-masq-agent { flags dormant; }"],
  [
    "a foreign base chain that masquerades",
    `add chain ip ip-masq-agent other { type nat hook postrouting priority 90; }
     add rule ip ip-masq-agent other masquerade`,
  ],
  [
    "objects of all kinds, and chains that jump to each other",
    `add counter ip ip-masq-agent c
     add quota ip ip-masq-agent q { over 10 mbytes }
     add limit ip ip-masq-agent l { rate 400/minute; }
     add chain ip ip-masq-agent one
     add chain ip ip-masq-agent two
     add map ip ip-masq-agent m { type ipv4_addr : verdict; }
     add element ip ip-masq-agent m { 198.51.100.1 : jump two }
     add rule ip ip-masq-agent one ip daddr vmap @m
     add rule ip ip-masq-agent two counter name c
     insert rule ip ip-masq-agent IP-MASQ-AGENT jump one`,
  ],
  [
    "a table that an interrupted replacement left",
    "delete table ip ip-masq-agent; add table ip ip-masq-agent-next",
  ],
];

const NFT: Readonly<Record<string, string>> = {
  "a native rule in table nat":
    "add table ip nat; add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }; add rule ip nat POSTROUTING oifname eth9 masquerade",
  "rules for packets with a mark":
    "add table inet marked; add chain inet marked post { type nat hook postrouting priority 100; }; add rule inet marked post meta mark & 0x2000 == 0x2000 masquerade",
  "a base chain at ipmasq's priority":
    "add table ip same; add chain ip same post { type nat hook postrouting priority 101; }; add rule ip same post ip saddr 10.77.0.0/24 snat to 203.0.113.99",
  "a table with ipmasq's name in family inet":
    "add table inet ip-masq-agent; add chain inet ip-masq-agent post { type nat hook postrouting priority 90; }; add rule inet ip-masq-agent post ip saddr 10.77.0.0/24 masquerade",
  "objects of all kinds":
    "add table ip exotic; add quota ip exotic q { over 10 mbytes }; add limit ip exotic l { rate 400/minute; }; add set ip exotic s { type ipv4_addr . inet_service; flags interval, timeout; }; add map ip exotic m { type ipv4_addr : verdict; elements = { 198.51.100.1 : drop }; }",
};

/** Written by both variants of iptables. */
const RESTORED: Readonly<Record<string, string>> = {
  "an exemption": "-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT",
  "exemptions with a source": `-A POSTROUTING -s 10.77.0.0/24 -d 10.0.0.0/8 -j RETURN
-A POSTROUTING -s 10.77.0.0/24 -j MASQUERADE`,
  "a chain with a comment like ipmasq's": `:MYCHAIN - [0:0]
-A POSTROUTING -j MYCHAIN
-A MYCHAIN -d 192.0.2.77 -m comment --comment "ip-masq-agent: leave our VPN alone" -j RETURN
-A MYCHAIN -s 192.168.77.0/24 -j MASQUERADE`,
  "the chain of GKE's start-up script": `:IP-MASQ - [0:0]
-A POSTROUTING -m comment --comment "ip-masq: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ
-A IP-MASQ -d 10.0.0.0/8 -m comment --comment "ip-masq: local traffic is not subject to MASQUERADE" -j RETURN
-A IP-MASQ -m comment --comment "ip-masq: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE`,
};

/** Foreign rules, with the commands that write them. None of them affects the connections of these tests. */
export const FOREIGN: readonly (readonly [string, readonly (readonly string[])[]])[] = [
  ...Object.entries(NFT).map(([name, commands]) => [name, [["nft", commands]]] as const),
  ...Object.entries(RESTORED).map(([name, rules]) => {
    const input = `*nat\n${rules}\nCOMMIT`;
    const load = (variant: string) => ["sh", "-c", `echo "$0" | ${variant}-restore --noflush`, input];
    return [name, ["iptables-nft", "iptables-legacy"].map(load)] as const;
  }),
];
