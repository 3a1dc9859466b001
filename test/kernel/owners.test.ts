import { afterEach, describe, expect, test } from "bun:test";
import { output } from "../../lab/output.ts";
import type { Conflict } from "../../src/conflicts/conflict.ts";
import { judge } from "../../src/conflicts/judge.ts";
import { readNatHooks } from "../../src/conflicts/read.ts";
import { policy } from "../policies.ts";

const MEANT = policy({ keep: ["10.0.0.0/8", "192.168.0.0/16"] }, { enableIPv6: true });
const FOUR = "169.254.0.0/16 10.0.0.0/8 192.168.0.0/16";
const SIX = "fe80::/10";

afterEach(async () => {
  await output(["nft", "flush", "ruleset"]);
});

async function found(): Promise<Conflict[]> {
  const { hooks, unread } = await readNatHooks();
  expect(unread).toEqual([]);
  return judge(hooks, MEANT, "nftables");
}

interface Case {
  readonly owner: string;
  /** A document for nft, or for iptables-nft-restore if it begins with an asterisk. */
  readonly rules: string;
  /** For each translating rule, the CIDRs that it exposes, or in brackets the only packets that it affects. */
  readonly exposes: readonly string[];
}

/** Rules as the programs write them. */
const CASES: readonly Case[] = [
  {
    owner: "incus or LXD",
    rules: `table inet incus {
      chain pstrt.incusbr0 { type nat hook postrouting priority srcnat; policy accept; ip saddr 10.125.0.0/22 ip daddr != 10.125.0.0/22 masquerade; ip6 saddr fd42::/64 ip6 daddr != fd42::/64 masquerade; }
      chain fwd.incusbr0 { type filter hook forward priority filter; policy accept; ip version 4 oifname "incusbr0" accept; ip version 4 iifname "incusbr0" accept; }
    }`,
    exposes: [FOUR, SIX],
  },
  {
    owner: "systemd-networkd or systemd-nspawn",
    rules: `table ip io.systemd.nat {
      set masq_saddr { type ipv4_addr; flags interval; elements = { 192.168.2.0/24 } }
      map map_port_ipport { type inet_proto . inet_service : ipv4_addr . inet_service; }
      chain prerouting { type nat hook prerouting priority dstnat + 1; policy accept; fib daddr type local dnat ip to meta l4proto . th dport map @map_port_ipport; }
      chain postrouting { type nat hook postrouting priority srcnat + 1; policy accept; ip saddr @masq_saddr masquerade; }
    }`,
    exposes: [FOUR],
  },
  {
    owner: "NetworkManager",
    rules: `table ip nm-shared-wlan0 {
      chain nat_postrouting { type nat hook postrouting priority srcnat; policy accept; ip saddr 10.42.0.0/24 ip daddr != 10.42.0.0/24 masquerade; }
      chain filter_forward { type filter hook forward priority filter; policy accept; ip saddr 10.42.0.0/24 iifname "wlan0" accept; iifname "wlan0" reject; }
    }`,
    exposes: [FOUR],
  },
  {
    owner: "OpenWrt's fw4",
    rules: `table inet fw4 {
      chain srcnat { type nat hook postrouting priority srcnat; policy accept; oifname "wan" jump srcnat_wan comment "!fw4: Handle wan IPv4/IPv6 srcnat traffic"; }
      chain srcnat_wan { meta nfproto ipv4 masquerade comment "!fw4: Masquerade IPv4 wan traffic"; }
    }`,
    exposes: [FOUR],
  },
  {
    owner: "OVN-Kubernetes",
    rules: `table inet ovn-kubernetes {
      set mgmtport-no-snat-subnets-v4 { type ipv4_addr; flags interval; }
      chain ovn-kube-local-gw-masq { type nat hook postrouting priority srcnat; policy accept; ip saddr 169.254.0.1 masquerade; ip6 saddr fd69::1 masquerade; jump ovn-kube-pod-subnet-masq; }
      chain ovn-kube-pod-subnet-masq { ip daddr 10.8.0.0/16 return; ip saddr 10.244.0.0/24 masquerade; }
      chain mgmtport-snat { type nat hook postrouting priority srcnat; policy accept; oifname != "ovn-k8s-mp0" return; meta nfproto ipv4 ip saddr 10.244.0.2 counter packets 0 bytes 0 return; meta nfproto ipv4 ip saddr @mgmtport-no-snat-subnets-v4 return; meta nfproto ipv4 counter snat ip to 10.244.0.2; }
    }`,
    exposes: [FOUR, SIX, FOUR, FOUR],
  },
  {
    owner: "podman (netavark)",
    rules: `table inet netavark {
      chain POSTROUTING {
        type nat hook postrouting priority srcnat; policy accept;
        meta mark & 0x00002000 == 0x00002000 masquerade
        ip saddr 10.88.0.0/16 jump nv_2f259bab_10_88_0_0_nm16
      }
      chain nv_2f259bab_10_88_0_0_nm16 {
        ip daddr 10.88.0.0/16 accept
        ip daddr != 224.0.0.0/4 masquerade
      }
    }`,
    exposes: [FOUR, "(packets with mark 0x2000/0x2000)"],
  },
  {
    owner: "netbird",
    rules: `table ip netbird {
      chain netbird-rt-postrouting {
        type nat hook postrouting priority srcnat - 1; policy accept;
        meta mark 0x0001bd11 oifname != "lo" counter masquerade
        meta mark 0x0001bd12 oifname "wt0" counter masquerade
      }
    }`,
    exposes: ["(packets with mark 0x1bd11)", "(packets with mark 0x1bd12)"],
  },
  {
    owner: "tailscale",
    rules: `*nat
:ts-postrouting - [0:0]
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT`,
    exposes: ["(packets with mark 0x40000/0xff0000)"],
  },
  {
    owner: "OpenShift SDN",
    rules: `*nat
:OPENSHIFT-MASQUERADE - [0:0]
:OPENSHIFT-MASQUERADE-2 - [0:0]
-A POSTROUTING -m comment --comment "rules for masquerading OpenShift traffic" -j OPENSHIFT-MASQUERADE
-A OPENSHIFT-MASQUERADE -m mark --mark 0x1/0x1 -j RETURN
-A OPENSHIFT-MASQUERADE -s 10.128.0.0/14 -m comment --comment "masquerade pod-to-external traffic" -j OPENSHIFT-MASQUERADE-2
-A OPENSHIFT-MASQUERADE-2 -d 10.128.0.0/14 -m comment --comment "masquerade pod-to-external traffic" -j RETURN
-A OPENSHIFT-MASQUERADE-2 -j MASQUERADE
COMMIT`,
    exposes: [FOUR],
  },
  {
    owner: "Amazon VPC CNI",
    rules: `*nat
:AWS-SNAT-CHAIN-0 - [0:0]
-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0
-A AWS-SNAT-CHAIN-0 -d 10.0.0.0/8 -m comment --comment "AWS SNAT CHAIN" -j RETURN
-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL -j SNAT --to-source 192.168.1.2 --random-fully
COMMIT`,
    exposes: ["169.254.0.0/16 192.168.0.0/16"],
  },
  {
    owner: "kilo",
    rules: `*nat
:KILO-NAT - [0:0]
-A POSTROUTING -s 10.42.0.0/24 -m comment --comment "Kilo: jump to KILO-NAT chain" -j KILO-NAT
-A KILO-NAT -d 10.42.0.0/16 -m comment --comment "Kilo: do not NAT packets destined for known IPs" -j RETURN
-A KILO-NAT -m comment --comment "Kilo: NAT remaining packets" -j MASQUERADE
COMMIT`,
    exposes: [FOUR],
  },
  {
    owner: "Shorewall",
    rules: `*nat
:SHOREWALL - [0:0]
:eth0_masq - [0:0]
-A POSTROUTING -o eth0 -j eth0_masq
-A eth0_masq -s 192.168.1.0/24 -j MASQUERADE
COMMIT`,
    exposes: [FOUR],
  },
  {
    owner: "kube-vip",
    rules: `*nat
-A POSTROUTING -s 10.250.163.3/32 -m mark --mark 0x40/0x40 -m comment --comment "a3ViZS12aXAK=kube-vip" -j SNAT --to-source 192.168.10.161
COMMIT`,
    exposes: ["(packets with mark 0x40/0x40)"],
  },
  {
    owner: "kubesolo",
    rules: `table ip kubesolo-masq {
      chain postrouting { type nat hook postrouting priority srcnat; policy accept; ip saddr 10.42.0.0/16 ip daddr != 10.42.0.0/16 masquerade comment "kubesolo: pod masquerade"; }
    }`,
    exposes: [FOUR],
  },
];

test.each([...CASES])("$owner is recognised, with its remedy", async ({ owner, rules, exposes }) => {
  await output(rules.startsWith("*") ? ["iptables-nft-restore"] : ["nft", "-f", "-"], `${rules}\n`);
  const all = await found();
  const summary = all.map(it => (it.only === undefined ? it.exposes.join(" ") : `(${it.only})`));
  expect(summary.toSorted()).toEqual(exposes.toSorted());
  for (const it of all) {
    expect(it.owner).toBe(owner);
    expect(it.remedy).not.toMatch(/^(remove|find out)/);
    expect(it.harmless).toBe(it.exposes.length === 0);
  }
});

describe("at ipmasq's priority", () => {
  const ours = "table ip ip-masq-agent { chain postrouting { type nat hook postrouting priority 101; }; }";
  const theirs =
    "table ip other { chain post { type nat hook postrouting priority srcnat + 1; ip saddr 10.1.0.0/24 snat to 203.0.113.99; }; }";
  test.each([
    ["a base chain registered after ours runs before it", ours, theirs, "before ipmasq"],
    ["a base chain registered before ours runs after it", theirs, ours, "after ipmasq"],
  ] as const)("%s", async (_, first, second, runs) => {
    await output(["nft", "-f", "-"], first);
    await output(["nft", "-f", "-"], second);
    expect(await found()).toMatchObject([{ table: "other", runs }]);
  });
});

/** Objects and rules that some nft prints oddly, or not at all as JSON. The kernel may refuse some. */
const EXOTIC = [
  'add ct helper inet odd ftp { type "ftp" protocol tcp; }',
  "add ct timeout inet odd slow { protocol udp; l3proto ip; policy = { unreplied : 10s, replied : 20s }; }",
  "add ct expectation inet odd later { protocol udp; dport 9876; timeout 2m; size 12; l3proto ip; }",
  "add synproxy inet odd sp { mss 1460; wscale 7; timestamp sack-perm; }",
  "add quota inet odd much { over 25 mbytes; }",
  "add limit inet odd rate { rate 400/minute; }",
  "add counter inet odd seen",
  "add flowtable inet odd flow { hook ingress priority 0; devices = { lo }; }",
  "add set inet odd pairs { type ipv4_addr . inet_service; elements = { 192.0.2.1 . 80 }; }",
  "add set inet odd temporary { type ipv4_addr; flags timeout; timeout 1h; elements = { 192.0.2.2 }; }",
  "add set inet odd dynamic { type ipv4_addr; flags dynamic; size 10; }",
  "add set inet odd blocks { type ipv4_addr; flags interval; elements = { 192.168.0.0-192.168.255.255, 169.254.0.0/16 }; }",
  "add map inet odd ports { type inet_service : ipv4_addr . inet_service; }",
  "add map inet odd verdicts { type ipv4_addr : verdict; }",
  "add chain inet odd there",
  "add chain inet odd post { type nat hook postrouting priority srcnat; }",
  "add element inet odd verdicts { 10.9.9.9 : jump there }",
  "add rule inet odd there ip daddr 10.9.0.0/16 masquerade",
  "add rule inet odd post quota name much",
  "add rule inet odd post limit name rate counter name seen",
  "add rule inet odd post ip daddr . tcp dport @pairs accept",
  "add rule inet odd post ip saddr @temporary accept",
  "add rule inet odd post add @dynamic { ip saddr limit rate 1/second } counter",
  'add rule inet odd post tcp dport { 80, 443-445 } ct state new counter log prefix "odd \\\\ "',
  "add rule inet odd post ip daddr @blocks accept",
  "add rule inet odd post ip daddr vmap @verdicts",
  "add rule inet odd post meta l4proto vmap { tcp : jump there, udp : continue }",
  "add rule inet odd post ip saddr 10.1.0.0/16 jump { ip daddr 192.0.2.3 accept; }",
  "add rule inet odd post meta mark set ip daddr map { 10.1.1.1 : 0x1 }",
  "add rule inet odd post dup to 192.0.2.9",
  "add rule inet odd post ip protocol tcp snat ip to ip saddr map { 10.5.0.0/16 : 192.0.2.50 }",
  'add rule inet odd post oifname "eth*" masquerade random,persistent',
];

test("no exotic object stops the reading or hides another table", async () => {
  await output(["nft", "add table inet odd"]);
  // Tables with our name, in families without NAT.
  await output([
    "nft",
    "add table bridge ip-masq-agent; add chain bridge ip-masq-agent post { type filter hook postrouting priority 100; }; add table netdev ip-masq-agent; add table arp ip-masq-agent",
  ]);
  let taken = 0;
  for (const line of EXOTIC) {
    const added = await output(["nft", line]).then(
      () => 1,
      () => 0,
    );
    taken += added;
  }
  expect(taken).toBeGreaterThan(20);
  await output([
    "nft",
    "add table ip other; add chain ip other post { type nat hook postrouting priority 150; }; add rule ip other post ip daddr 10.1.0.0/16 masquerade",
  ]);
  const all = (await found()).filter(({ harmless }) => !harmless);
  expect(all.map(({ table, exposes }) => `${table}: ${exposes.join(" ")}`).toSorted()).toContain(
    "other: 10.0.0.0/8",
  );
  expect(all.find(({ rule }) => rule.includes("eth*"))?.exposes).toEqual(["10.0.0.0/8", "fe80::/10"]);
  expect(all.find(({ chain }) => chain === "there")).toMatchObject({
    exposes: ["10.0.0.0/8"],
    certain: false,
  });
});

test("tables and chains can have any name", async () => {
  const names = ["accept", "a;flush ruleset", "a#b", 'a "b{', "-j", "é"];
  const add = names.flatMap(name => [
    { add: { table: { family: "ip", name } } },
    {
      add: {
        chain: {
          family: "ip",
          table: name,
          name,
          type: "nat",
          hook: "postrouting",
          prio: 90,
          policy: "accept",
        },
      },
    },
    { add: { rule: { family: "ip", table: name, chain: name, expr: [{ masquerade: null }] } } },
  ]);
  await output(["nft", "-j", "-f", "-"], JSON.stringify({ nftables: add }));
  expect((await found()).map(({ table, chain, rule }) => [table, chain, rule])).toEqual(
    names.map(name => [name, name, "masquerade"]),
  );
});

test("the text of a rule does not change with its counters", async () => {
  await output([
    "nft",
    "add table ip t; add chain ip t post { type nat hook postrouting priority 90; }; add rule ip t post ip daddr 10.1.0.0/16 counter packets 7 bytes 9 snat to 192.0.2.1; add rule ip t post ip saddr 10.1.1.1 counter packets 1 bytes 2 masquerade",
  ]);
  expect((await found()).map(({ rule }) => rule)).toEqual([
    "ip daddr 10.1.0.0/16 counter snat to 192.0.2.1",
    "ip saddr 10.1.1.1 counter masquerade",
  ]);
});

test("nft reads native rules in table nat", async () => {
  await output(["iptables-nft-restore"], "*nat\n-A POSTROUTING -s 10.3.0.0/16 -j MASQUERADE\nCOMMIT\n");
  await output(["nft", 'add rule ip nat POSTROUTING oifname "eth9" masquerade']);
  const all = await found();
  expect(all.map(({ tool, exposes }) => [tool, exposes.join(" ")])).toEqual([
    ["nft", FOUR],
    ["nft", FOUR],
  ]);
});

test("reading is limited in chains, bytes and time, and lists what was not read", async () => {
  const many = Array.from(
    { length: 20 },
    (_, i) =>
      `add chain ip t c${i}; add rule ip t c${i} ip daddr 10.${i}.0.0/16 masquerade; add rule ip t post jump c${i};`,
  );
  const table = "add table ip t; add chain ip t post { type nat hook postrouting priority 90; };";
  await output(["nft", `${table}${many.join("")}`]);
  const few = await readNatHooks({ limits: { chains: 5 } });
  expect(few.unread[0]).toStartWith("chain c4 of table ip t: too many chains");
  expect(judge(few.hooks, MEANT, "nftables")).toHaveLength(4);
  const small = await readNatHooks({ limits: { output: 100 } });
  expect(small.unread.join()).toContain("was killed");
  const began = performance.now();
  const hurried = await readNatHooks({ limits: { time: 1 } });
  expect(hurried.unread).not.toEqual([]);
  expect(performance.now() - began).toBeLessThan(2000);
});

test("the rules of kube-proxy are not read", async () => {
  const services = Array.from({ length: 1000 }, (_, i) => i);
  const id = (i: number) => i.toString(16).padStart(16, "0").toUpperCase();
  const rules = [
    "*nat",
    ":KUBE-SERVICES -",
    ":KUBE-POSTROUTING -",
    ...services.map(i => `:KUBE-SVC-${id(i)} -\n:KUBE-SEP-${id(i)} -`),
    "-A POSTROUTING -j KUBE-POSTROUTING",
    "-A POSTROUTING -d 10.1.0.0/16 -j MASQUERADE",
    ...services.map(
      i => `-A KUBE-SERVICES -d 10.96.${i >> 8}.${i & 255}/32 -p tcp -j KUBE-SVC-${id(i)}
-A KUBE-SVC-${id(i)} -j KUBE-SEP-${id(i)}
-A KUBE-SEP-${id(i)} -s 10.244.1.2/32 -j RETURN
-A KUBE-SEP-${id(i)} -p tcp -j DNAT --to-destination 10.244.1.2:80`,
    ),
    "COMMIT",
    "",
  ];
  await output(["iptables-nft-restore"], rules.join("\n"));
  const { visited } = await readNatHooks();
  expect([...visited]).toEqual(["ip nat POSTROUTING"]);
  expect((await found()).filter(({ harmless }) => !harmless)).toMatchObject([{ exposes: ["10.0.0.0/8"] }]);
});
