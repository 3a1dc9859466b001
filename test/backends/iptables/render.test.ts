import { describe, expect, test } from "bun:test";
import { renderRestore } from "../../../src/backends/iptables/iptables.ts";
import { isOurs } from "../../../src/backends/iptables/own-chains.ts";
import { changesTo, desiredLines, restoreInput } from "../../../src/backends/iptables/restore.ts";
import { ruleset } from "../../../src/backends/iptables/ruleset.ts";
import type { Policy } from "../../../src/policy/policy.ts";
import { ruleText } from "../../../src/xtables/rule.ts";
import { parseSaved } from "../../../src/xtables/save.ts";
import { policy } from "../../policies.ts";

const JUMP = (chain: string) =>
  `-A POSTROUTING -m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom ${chain} chain" -m addrtype ! --dst-type LOCAL -j ${chain}`;
const LOCAL = '-m comment --comment "ip-masq-agent: cluster-local traffic"';
const UPSTREAM_LOCAL = '-m comment --comment "ip-masq-agent: local traffic is not subject to MASQUERADE"';
const OUTBOUND = '-m comment --comment "ip-masq-agent: outbound traffic"';
const EXCEPTION = '-m comment --comment "ip-masq-agent: exceptions from cluster-local traffic"';
const CHECK = '-m comment --comment "ip-masq-agent: sources and interfaces that are masqueraded"';

test("each of our rules is recognised as ours by its comment", () => {
  const everything = policy(
    {
      keep: ["10.0.0.0/8"],
      masquerade: ["10.96.0.0/12"],
      sources: ["10.244.0.0/16"],
      spared: ["10.244.7.0/24"],
      marks: ["0x200/0x200"],
      interfaces: ["eth0", "wg*"],
    },
    {
      toPorts: [
        { first: 1024, last: 2000 },
        { first: 3000, last: 3000 },
      ],
      masqChain: "A-CHAIN",
    },
  );
  for (const family of everything.families) {
    const { chains, jump } = ruleset(everything, family);
    const rules = [jump, ...chains.flatMap(({ rules }) => rules)];
    expect(rules.filter(rule => !isOurs(rule)).map(ruleText)).toEqual([]);
  }
});

/** The rules at the top of every chain. */
const never = (chain: string) => `\
[0:0] -A ${chain} -m comment --comment "ip-masq-agent: traffic under an IPsec policy is never masqueraded" -m policy --dir out --pol ipsec -j RETURN
[0:0] -A ${chain} -d 224.0.0.0/4 -m comment --comment "ip-masq-agent: multicast is never masqueraded" -j RETURN
[0:0] -A ${chain} -m comment --comment "ip-masq-agent: broadcast is never masqueraded" -m addrtype --dst-type BROADCAST -j RETURN
`;

describe("the document for iptables-restore", () => {
  test.each([
    [
      "the defaults",
      policy(),
      `*nat
:IP-MASQ-AGENT - [0:0]
${never("IP-MASQ-AGENT")}[0:0] -A IP-MASQ-AGENT -d 169.254.0.0/16 ${LOCAL} -j RETURN
[0:0] -A IP-MASQ-AGENT -d 10.0.0.0/8 ${LOCAL} -j RETURN
[0:0] -A IP-MASQ-AGENT -d 172.16.0.0/12 ${LOCAL} -j RETURN
[0:0] -A IP-MASQ-AGENT -d 192.168.0.0/16 ${LOCAL} -j RETURN
[0:0] -A IP-MASQ-AGENT ${OUTBOUND} -j MASQUERADE --random-fully
[0:0] ${JUMP("IP-MASQ-AGENT")}
COMMIT
`,
    ],
    [
      "another chain, link-local too, ports as they come",
      policy({ keep: [], masqLinkLocal: true }, { masqChain: "IP-MASQ", randomFully: false }),
      `*nat
:IP-MASQ - [0:0]
${never("IP-MASQ")}[0:0] -A IP-MASQ ${OUTBOUND} -j MASQUERADE
[0:0] ${JUMP("IP-MASQ")}
COMMIT
`,
    ],
    [
      "sources that are never masqueraded",
      policy({
        keep: ["10.0.0.0/8"],
        masqLinkLocal: true,
        sources: ["10.244.0.0/16"],
        spared: ["10.244.7.0/24"],
      }),
      `*nat
:IP-MASQ-AGENT - [0:0]
:IP-MASQ-AGENT-DST - [0:0]
${never("IP-MASQ-AGENT")}[0:0] -A IP-MASQ-AGENT -s 10.244.7.0/24 -m comment --comment "ip-masq-agent: non-masquerade sources" -j RETURN
[0:0] -A IP-MASQ-AGENT -s 10.244.0.0/16 ${CHECK} -g IP-MASQ-AGENT-DST
[0:0] -A IP-MASQ-AGENT-DST -d 10.0.0.0/8 ${LOCAL} -j RETURN
[0:0] -A IP-MASQ-AGENT-DST ${OUTBOUND} -j MASQUERADE --random-fully
[0:0] ${JUMP("IP-MASQ-AGENT")}
COMMIT
`,
    ],
    [
      "exceptions, sources, interfaces",
      policy({
        keep: ["10.0.0.0/8"],
        masquerade: ["10.96.0.0/12"],
        sources: ["10.244.0.0/16"],
        interfaces: ["eth0", "wg*"],
        masqLinkLocal: true,
      }),
      `*nat
:IP-MASQ-AGENT - [0:0]
:IP-MASQ-AGENT-DST - [0:0]
:IP-MASQ-AGENT-OUT - [0:0]
${never("IP-MASQ-AGENT")}[0:0] -A IP-MASQ-AGENT -s 10.244.0.0/16 -o eth0 ${CHECK} -g IP-MASQ-AGENT-DST
[0:0] -A IP-MASQ-AGENT -s 10.244.0.0/16 -o wg+ ${CHECK} -g IP-MASQ-AGENT-DST
[0:0] -A IP-MASQ-AGENT-DST -d 10.96.0.0/12 ${EXCEPTION} -g IP-MASQ-AGENT-OUT
[0:0] -A IP-MASQ-AGENT-DST -d 10.0.0.0/8 ${LOCAL} -j RETURN
[0:0] -A IP-MASQ-AGENT-DST ${OUTBOUND} -g IP-MASQ-AGENT-OUT
[0:0] -A IP-MASQ-AGENT-OUT ${OUTBOUND} -j MASQUERADE --random-fully
[0:0] ${JUMP("IP-MASQ-AGENT")}
COMMIT
`,
    ],
  ])("%s", (_what, meant, text) => {
    expect(renderRestore(meant, "ip")).toBe(text);
  });

  test("port ranges get their share of the connections that earlier ranges left", () => {
    const toPorts = [
      { first: 1001, last: 2000 },
      { first: 3001, last: 5000 },
      { first: 6000, last: 6000 },
    ];
    const lines = renderRestore(policy({ keep: [], masqLinkLocal: true }, { toPorts }), "ip").split("\n");
    const udp = lines.filter(line => line.includes("-p udp"));
    expect(udp.map(line => line.replace(/.*MASQUERADE /, ""))).toEqual([
      "--to-ports 1001-2000 --random-fully",
      "--to-ports 3001-5000 --random-fully",
      "--to-ports 6000 --random-fully",
    ]);
    const shares = udp.map(line => /--probability (\S+)/.exec(line)?.[1]);
    expect(shares).toEqual(["0.33322225930", "0.99950024998", undefined]);
  });

  test("the rules of IPv6 are for ip6tables-restore", () => {
    const both = policy({ keep: ["fd00::/8"] }, { enableIPv6: true });
    expect(renderRestore(both, "ip6")).toContain(`-A IP-MASQ-AGENT -d fd00::/8 ${LOCAL} -j RETURN\n`);
    expect(renderRestore(both, "ip")).not.toContain("fd00");
    expect(renderRestore(both, "ip6")).toContain("-d ff00::/8 ");
    expect(renderRestore(both, "ip6")).not.toContain("BROADCAST"); // which ip6tables refuses
    expect(renderRestore(policy(), "ip6")).toBe("");
  });
});

test("without IPsec matches the other rules are the same", () => {
  const [ip] = policy().families;
  const text = (ipsec: boolean) =>
    ip && desiredLines(ruleset(policy(), ip, { randomFully: true, ipsec, netmap: true }));
  expect(text(false)).toEqual(text(true)?.filter(line => !line.includes("ipsec")) ?? []);
});

describe("iptables-restore changes", () => {
  const head =
    "# Generated by iptables-nft-save v1.8.9\n*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [7:420]\n";
  const change = (text: string, meant?: Policy) => {
    const [family] = meant?.families ?? [];
    const saved = parseSaved(`${head}${text}COMMIT\n`);
    const changes = changesTo(saved, meant && family && ruleset(meant, family));
    return changes && restoreInput(saved, changes);
  };
  const meant = policy({ keep: ["10.0.0.0/8"], masqLinkLocal: true });
  const chain = `:IP-MASQ-AGENT - [0:0]\n${never("IP-MASQ-AGENT")}[5:300] -A IP-MASQ-AGENT -d 10.0.0.0/8 ${LOCAL} -j RETURN\n[2:120] -A IP-MASQ-AGENT ${OUTBOUND} -j MASQUERADE --random-fully\n`;
  const jump = `[7:420] ${JUMP("IP-MASQ-AGENT")}\n`;

  test.each([
    ["nothing if the rules are equal", `${chain}${jump}`, meant, undefined],
    [
      "the second jump",
      `${chain}${jump}[0:0] -A POSTROUTING -j IP-MASQ-AGENT\n`,
      meant,
      "*nat\n-D POSTROUTING -j IP-MASQ-AGENT\nCOMMIT\n",
    ],
    ["the missing jump", chain, meant, `*nat\n[0:0] ${JUMP("IP-MASQ-AGENT")}\nCOMMIT\n`],
    [
      "one rule, and leaves the others with their counts",
      `${chain}${jump}`,
      policy({ keep: ["192.0.2.0/24", "10.0.0.0/8"], masqLinkLocal: true }),
      `*nat\n[0:0] -I IP-MASQ-AGENT 4 -d 192.0.2.0/24 ${LOCAL} -j RETURN\nCOMMIT\n`,
    ],
    [
      "rules at both ends of the chain",
      `${chain}[0:0] -A IP-MASQ-AGENT -d 9.9.9.9/32 -j ACCEPT\n${jump}`,
      policy({ keep: ["192.0.2.0/24", "198.51.100.0/24"], masqLinkLocal: true }),
      `*nat\n-D IP-MASQ-AGENT -d 10.0.0.0/8 ${LOCAL} -j RETURN\n[0:0] -I IP-MASQ-AGENT 4 -d 192.0.2.0/24 ${LOCAL} -j RETURN\n[0:0] -I IP-MASQ-AGENT 5 -d 198.51.100.0/24 ${LOCAL} -j RETURN\n-D IP-MASQ-AGENT -d 9.9.9.9/32 -j ACCEPT\nCOMMIT\n`,
    ],
    [
      "the whole chain if the order changes, with the counts of rules that stay",
      `${chain.replace(/(.* 10\.0\.0\.0.*\n)(.*\n)/, "$2$1")}${jump}`,
      meant,
      `*nat\n:IP-MASQ-AGENT - [0:0]\n${never("IP-MASQ-AGENT")}[5:300] -A IP-MASQ-AGENT -d 10.0.0.0/8 ${LOCAL} -j RETURN\n[2:120] -A IP-MASQ-AGENT ${OUTBOUND} -j MASQUERADE --random-fully\nCOMMIT\n`,
    ],
    [
      "the whole chain if it has the comments of ip-masq-agent",
      `${chain.replace(LOCAL, UPSTREAM_LOCAL).replace(/.*BROADCAST.*\n/, "")}${jump}`,
      meant,
      `*nat\n:IP-MASQ-AGENT - [0:0]\n${never("IP-MASQ-AGENT")}[5:300] -A IP-MASQ-AGENT -d 10.0.0.0/8 ${LOCAL} -j RETURN\n[2:120] -A IP-MASQ-AGENT ${OUTBOUND} -j MASQUERADE --random-fully\nCOMMIT\n`,
    ],
    [
      "a chain with another name",
      `${chain}${jump}:OLD - [0:0]\n[0:0] -A OLD ${OUTBOUND} -j MASQUERADE\n[0:0] ${JUMP("OLD")}\n`,
      meant,
      `*nat\n:OLD - [0:0]\n-D POSTROUTING ${JUMP("OLD").slice("-A POSTROUTING ".length)}\n-X OLD\nCOMMIT\n`,
    ],
    [
      "all rules if none are desired",
      `${chain}${jump}`,
      undefined,
      `*nat\n:IP-MASQ-AGENT - [0:0]\n-D POSTROUTING ${JUMP("IP-MASQ-AGENT").slice("-A POSTROUTING ".length)}\n-X IP-MASQ-AGENT\nCOMMIT\n`,
    ],
  ] satisfies [string, string, Policy | undefined, string | undefined][])(
    "%s",
    (_what, text, desired, input) => {
      expect(change(text, desired)).toEqual(input);
    },
  );
});

test("an address of the node replaces MASQUERADE, with ports and flags", () => {
  const meant = policy(
    { keep: [], snat: ["192.0.2.0/24", "2001:db8::/32"], own: ["192.0.2.7", "2001:db8::7"] },
    { enableIPv6: true, toPorts: [{ first: 1024, last: 2047 }] },
  );
  const targets = meant.families.map(family =>
    ruleset(meant, family)
      .chains.flatMap(({ rules }) => rules)
      .filter(rule => rule.includes("SNAT"))
      .map(rule => ruleText(rule.slice(rule.indexOf("-j")))),
  );
  expect(targets).toEqual([
    [
      ...["tcp", "udp", "sctp"].map(() => "-j SNAT --to-source 192.0.2.7:1024-2047 --random-fully"),
      "-j SNAT --to-source 192.0.2.7 --random-fully",
    ],
    [
      ...["tcp", "udp", "sctp"].map(() => '-j SNAT --to-source "[2001:db8::7]:1024-2047" --random-fully'),
      "-j SNAT --to-source 2001:db8::7 --random-fully",
    ],
  ]);
});
