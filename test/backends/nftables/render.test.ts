import { expect, test } from "bun:test";
import { renderJson, renderText } from "../../../src/backends/nftables/nftables.ts";
import { ruleset } from "../../../src/backends/nftables/ruleset.ts";
import { tableText } from "../../../src/nft/text.ts";
import { policy } from "../../policies.ts";

test("the default policy", () => {
  expect(renderText(policy())).toBe(`\
table ip ip-masq-agent {
	counter outbound { }
	set non-masquerade-a {
		typeof ip daddr
		flags interval
		counter
		elements = {
			10.0.0.0/8 comment "default",
			169.254.0.0/16 comment "default",
			172.16.0.0/12 comment "default",
			192.168.0.0/16 comment "default",
		}
	}
	chain postrouting {
		type nat hook postrouting priority 101; policy accept;
		rt ipsec exists return comment "ip-masq-agent: traffic under an IPsec policy is never masqueraded"
		ip daddr 224.0.0.0/4 return comment "ip-masq-agent: multicast is never masqueraded"
		fib daddr type unicast jump IP-MASQ-AGENT comment "ip-masq-agent: non-local destinations go through IP-MASQ-AGENT"
	}
	chain IP-MASQ-AGENT {
		ip daddr @non-masquerade-a return comment "ip-masq-agent: cluster-local traffic"
		counter name "outbound" masquerade fully-random comment "ip-masq-agent: outbound traffic"
	}
}
`);
});

test("non-masquerade sources are looked up first, in their own set", () => {
  const lines = renderText(
    policy({
      keep: ["10.0.0.0/8"],
      masquerade: ["10.96.0.0/12"],
      spared: ["10.244.7.0/24", "10.244.7.9/32"],
    }),
  ).split("\n");
  const from = (line: string, count: number) => lines.slice(lines.indexOf(line), lines.indexOf(line) + count);
  expect(from("\tset non-masquerade-source-a {", 7)).toEqual([
    "\tset non-masquerade-source-a {",
    "\t\ttypeof ip saddr",
    "\t\tflags interval",
    "\t\tcounter",
    "\t\telements = {",
    '\t\t\t10.244.7.0/24 comment "/config:2",',
    "\t\t}",
  ]);
  expect(from("\tchain IP-MASQ-AGENT {", 5)).toEqual([
    "\tchain IP-MASQ-AGENT {",
    '\t\tip saddr @non-masquerade-source-a return comment "ip-masq-agent: non-masquerade sources"',
    '\t\tip daddr @masquerade-a goto outbound comment "ip-masq-agent: exceptions from cluster-local traffic"',
    '\t\tip daddr @non-masquerade-a return comment "ip-masq-agent: cluster-local traffic"',
    '\t\tcounter name "outbound" goto outbound comment "ip-masq-agent: outbound traffic"',
  ]);
});

test("all keys at once, in both families", () => {
  const everything = policy(
    {
      keep: ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "fd00::/8"],
      masquerade: ["10.96.0.0/12"],
      sources: ["10.244.0.0/16", "fd00:10:244::/56"],
      interfaces: ["eth0", "ens*"],
      masqLinkLocal: true,
    },
    {
      enableIPv6: true,
      masqChain: "IP-MASQ",
      randomFully: false,
      toPorts: [
        { first: 1024, last: 29999 },
        { first: 32768, last: 65535 },
        { first: 80, last: 80 },
      ],
    },
  );
  expect(renderText(everything)).toBe(`\
table ip ip-masq-agent {
	counter outbound { }
	set masquerade-a {
		typeof ip daddr
		flags interval
		counter
		elements = {
			10.96.0.0/12 comment "/config:2",
		}
	}
	set non-masquerade-a {
		typeof ip daddr
		flags interval
		counter
		elements = {
			10.0.0.0/8 comment "/config:2",
			192.0.2.1/32 comment "/config:4",
		}
	}
	set source-a {
		typeof ip saddr
		flags interval
		counter
		elements = {
			10.244.0.0/16 comment "/config:2",
		}
	}
	chain postrouting {
		type nat hook postrouting priority 101; policy accept;
		rt ipsec exists return comment "ip-masq-agent: traffic under an IPsec policy is never masqueraded"
		ip daddr 224.0.0.0/4 return comment "ip-masq-agent: multicast is never masqueraded"
		oifname "eth0" ip saddr @source-a fib daddr type unicast jump IP-MASQ comment "ip-masq-agent: non-local destinations go through IP-MASQ; see table ip6 too"
		oifname "ens*" ip saddr @source-a fib daddr type unicast jump IP-MASQ comment "ip-masq-agent: non-local destinations go through IP-MASQ; see table ip6 too"
	}
	chain IP-MASQ {
		ip daddr @masquerade-a goto outbound comment "ip-masq-agent: exceptions from cluster-local traffic"
		ip daddr @non-masquerade-a return comment "ip-masq-agent: cluster-local traffic"
		counter name "outbound" goto outbound comment "ip-masq-agent: outbound traffic"
	}
	chain outbound {
		meta l4proto { tcp, udp, sctp } numgen random mod 61745 < 28976 counter masquerade to :1024-29999 comment "ip-masq-agent: outbound traffic from ports 1024-29999"
		meta l4proto { tcp, udp, sctp } numgen random mod 32769 < 32768 counter masquerade to :32768-65535 comment "ip-masq-agent: outbound traffic from ports 32768-65535"
		meta l4proto { tcp, udp, sctp } counter masquerade to :80 comment "ip-masq-agent: outbound traffic from ports 80"
		counter masquerade comment "ip-masq-agent: outbound traffic"
	}
}
table ip6 ip-masq-agent {
	counter outbound { }
	set non-masquerade-a {
		typeof ip6 daddr
		flags interval
		counter
		elements = {
			fd00::/8 comment "/config:5",
			fe80::/10 comment "default",
		}
	}
	set source-a {
		typeof ip6 saddr
		flags interval
		counter
		elements = {
			fd00:10:244::/56 comment "/config:3",
		}
	}
	chain postrouting {
		type nat hook postrouting priority 101; policy accept;
		rt ipsec exists return comment "ip-masq-agent: traffic under an IPsec policy is never masqueraded"
		ip6 daddr ff00::/8 return comment "ip-masq-agent: multicast is never masqueraded"
		oifname "eth0" ip6 saddr @source-a fib daddr type != local jump IP-MASQ comment "ip-masq-agent: non-local destinations go through IP-MASQ; see table ip too"
		oifname "ens*" ip6 saddr @source-a fib daddr type != local jump IP-MASQ comment "ip-masq-agent: non-local destinations go through IP-MASQ; see table ip too"
	}
	chain IP-MASQ {
		ip6 daddr @non-masquerade-a return comment "ip-masq-agent: cluster-local traffic"
		meta l4proto { tcp, udp, sctp } numgen random mod 61745 < 28976 counter name "outbound" masquerade to :1024-29999 comment "ip-masq-agent: outbound traffic from ports 1024-29999"
		meta l4proto { tcp, udp, sctp } numgen random mod 32769 < 32768 counter name "outbound" masquerade to :32768-65535 comment "ip-masq-agent: outbound traffic from ports 32768-65535"
		meta l4proto { tcp, udp, sctp } counter name "outbound" masquerade to :80 comment "ip-masq-agent: outbound traffic from ports 80"
		counter name "outbound" masquerade comment "ip-masq-agent: outbound traffic"
	}
}
`);
});

test("empty sets and rules without effect are left out", () => {
  expect(renderText(policy({ keep: [], masqLinkLocal: true }))).toBe(`\
table ip ip-masq-agent {
	counter outbound { }
	chain postrouting {
		type nat hook postrouting priority 101; policy accept;
		rt ipsec exists return comment "ip-masq-agent: traffic under an IPsec policy is never masqueraded"
		ip daddr 224.0.0.0/4 return comment "ip-masq-agent: multicast is never masqueraded"
		fib daddr type unicast jump IP-MASQ-AGENT comment "ip-masq-agent: non-local destinations go through IP-MASQ-AGENT"
	}
	chain IP-MASQ-AGENT {
		counter name "outbound" masquerade fully-random comment "ip-masq-agent: outbound traffic"
	}
}
`);
  // All sources are IPv6, so IPv4 is never masqueraded.
  expect(renderText(policy({ sources: ["fd00::/8"] }, { enableIPv6: true }))).toStartWith(`\
table ip ip-masq-agent {
	chain postrouting {
		type nat hook postrouting priority 101; policy accept;
	}
}
table ip6 ip-masq-agent {
`);
});

test("as JSON", () => {
  const { nftables } = JSON.parse(renderJson(policy({ keep: ["10.0.0.0/8"], masqLinkLocal: true })));
  const ours = { family: "ip", table: "ip-masq-agent" };
  const set = { ...ours, name: "non-masquerade-a" };
  const never = (what: string, match: object) => ({
    add: {
      rule: {
        ...ours,
        chain: "postrouting",
        comment: `ip-masq-agent: ${what} is never masqueraded`,
        expr: [{ match }, { return: null }],
      },
    },
  });
  expect(nftables).toEqual([
    { metainfo: { json_schema_version: 1 } },
    { add: { table: { family: "ip", name: "ip-masq-agent" } } },
    {
      add: {
        set: {
          ...set,
          type: "ipv4_addr",
          flags: ["interval"],
          stmt: [{ counter: null }],
          elem: [{ elem: { val: { prefix: { addr: "10.0.0.0", len: 8 } }, comment: "/config:2" } }],
        },
      },
    },
    { add: { table: { family: "ip", name: "ip-masq-agent" } } },
    { add: { counter: { ...ours, name: "outbound" } } },
    {
      add: {
        chain: {
          ...ours,
          name: "postrouting",
          type: "nat",
          hook: "postrouting",
          prio: 101,
          policy: "accept",
        },
      },
    },
    { add: { chain: { ...ours, name: "IP-MASQ-AGENT" } } },
    never("traffic under an IPsec policy", { op: "==", left: { rt: { key: "ipsec" } }, right: true }),
    never("multicast", {
      op: "==",
      left: { payload: { protocol: "ip", field: "daddr" } },
      right: { prefix: { addr: "224.0.0.0", len: 4 } },
    }),
    {
      add: {
        rule: {
          ...ours,
          chain: "postrouting",
          comment: "ip-masq-agent: non-local destinations go through IP-MASQ-AGENT",
          expr: [
            { match: { op: "==", left: { fib: { result: "type", flags: ["daddr"] } }, right: "unicast" } },
            { jump: { target: "IP-MASQ-AGENT" } },
          ],
        },
      },
    },
    {
      add: {
        rule: {
          ...ours,
          chain: "IP-MASQ-AGENT",
          comment: "ip-masq-agent: cluster-local traffic",
          expr: [
            {
              match: {
                op: "==",
                left: { payload: { protocol: "ip", field: "daddr" } },
                right: "@non-masquerade-a",
              },
            },
            { return: null },
          ],
        },
      },
    },
    {
      add: {
        rule: {
          ...ours,
          chain: "IP-MASQ-AGENT",
          comment: "ip-masq-agent: outbound traffic",
          expr: [{ counter: "outbound" }, { masquerade: { flags: ["fully-random"] } }],
        },
      },
    },
  ]);
});

test("a name that a prefix of the list matches has no rule, so that no packet enters the chain twice", () => {
  const names = ["eth0", "eth*", "e*", "lo", "eth", "wg0*", "wg0"];
  const text = renderText(policy({ interfaces: names }));
  expect(text.match(/oifname \S+/g)).toEqual(['oifname "e*"', 'oifname "lo"', 'oifname "wg0*"']);
});

test("rules count if nft does not list the counters of elements", () => {
  const meant = policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"] });
  const rules = ruleset(meant, { elementCounters: false, ipsec: true }).flatMap(tableText);
  expect(rules.filter(line => /counter/.test(line)).map(line => line.trim())).toEqual([
    "counter masquerade { }",
    "counter non-masquerade { }",
    "counter outbound { }",
    'ip daddr @masquerade counter name "masquerade" goto outbound comment "ip-masq-agent: exceptions from cluster-local traffic"',
    'ip daddr @non-masquerade counter name "non-masquerade" return comment "ip-masq-agent: cluster-local traffic"',
    'counter name "outbound" goto outbound comment "ip-masq-agent: outbound traffic"',
    'counter masquerade fully-random comment "ip-masq-agent: outbound traffic"',
  ]);
});

test("without IPsec matches the other rules are the same", () => {
  const all = ruleset(policy({}, { enableIPv6: true })).flatMap(tableText);
  const without = ruleset(policy({}, { enableIPv6: true }), { elementCounters: true, ipsec: false });
  expect(without.flatMap(tableText)).toEqual(all.filter(line => !line.includes("ipsec")));
});

test("an address of the node replaces masquerade, with ports and flags", () => {
  const own = ["192.0.2.7", "2001:db8::7"];
  const snat = ["192.0.2.0/24", "2001:db8::/32"];
  const toPorts = [{ first: 1024, last: 2047 }];
  const rules = (...args: Parameters<typeof policy>) =>
    renderText(policy(...args))
      .split("\n")
      .filter(line => line.includes(' comment "ip-masq-agent: outbound'))
      .map(line => line.trim().replace(/ comment ".*/, ""));
  expect(rules({ snat, own }, { enableIPv6: true, toPorts })).toEqual([
    'meta l4proto { tcp, udp, sctp } counter name "outbound" snat to 192.0.2.7:1024-2047 fully-random',
    'counter name "outbound" snat to 192.0.2.7 fully-random',
    'meta l4proto { tcp, udp, sctp } counter name "outbound" snat to [2001:db8::7]:1024-2047 fully-random',
    'counter name "outbound" snat to 2001:db8::7 fully-random',
  ]);
  expect(rules({ snat, own: [] }, { randomFully: false })).toEqual(['counter name "outbound" masquerade']);
});
