import { describe, expect, test } from "bun:test";
import { type Conflict, effectText } from "../../src/conflicts/conflict.ts";
import { exemptions } from "../../src/conflicts/exemptions.ts";
import { judge } from "../../src/conflicts/judge.ts";
import { ourSide } from "../../src/conflicts/judged.ts";
import { Cidr } from "../../src/net/cidr.ts";
import type { TraceableRule } from "../../src/net/trace.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { policy } from "../policies.ts";
import { natHook } from "./hooks.ts";

const MEANT = policy({ keep: ["10.0.0.0/8", "192.168.0.0/16"] });

/** For each rule that translates: the CIDRs that it exposes, or why it exposes none. */
function found(lines: string, meant = MEANT, about: Parameters<typeof natHook>[1] = {}): string[] {
  return judge([natHook(lines, about)], meant, "nftables").map(summary);
}

function summary({ kind, owner, exposes, exempts = [], only, certain }: Conflict): string {
  const what = kind === "exempts" ? `exempts ${exempts.join(" ")}` : exposes.join(" ");
  return `${owner}: ${what || "nothing"}${only === undefined ? "" : `, ${only}`}${certain ? "" : ", perhaps"}`;
}

describe("connections that earlier rules exempt are not exposed", () => {
  test("by source and destination, as with flannel of k3s", () => {
    const rules = `
      -A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
      -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
      -A FLANNEL-POSTRTG -s 10.42.0.0/24 -d 10.42.0.0/16 -m comment --comment "flanneld masq" -j RETURN
      -A FLANNEL-POSTRTG -s 10.42.0.0/16 -d 10.42.0.0/24 -m comment --comment "flanneld masq" -j RETURN
      -A FLANNEL-POSTRTG ! -s 10.42.0.0/16 -d 10.42.0.0/24 -m comment --comment "flanneld masq" -j RETURN
      -A FLANNEL-POSTRTG -s 10.42.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
      -A FLANNEL-POSTRTG ! -s 10.42.0.0/16 -d 10.42.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully`;
    const pods = policy({ keep: ["10.42.0.0/24"], sources: ["10.42.0.0/24"], masqLinkLocal: true });
    expect(found(rules, pods)).toEqual(["flannel: nothing", "flannel: nothing"]);
    const cluster = policy({ keep: ["10.42.0.0/16"], sources: ["10.42.0.0/24"], masqLinkLocal: true });
    expect(found(rules, cluster)).toEqual(["flannel: nothing", "flannel: nothing"]);
    const beyond = policy({
      keep: ["10.42.0.0/16", "10.96.0.0/12"],
      sources: ["10.42.0.0/24"],
      masqLinkLocal: true,
    });
    expect(found(rules, beyond)).toEqual(["flannel: 10.96.0.0/12", "flannel: nothing"]);
    // Flannel exempts only the Pods on the same node, and this node may forward connections of others.
    const any = policy({ keep: ["10.42.0.0/16"], masqLinkLocal: true });
    expect(found(rules, any)).toEqual(["flannel: 10.42.0.0/16", "flannel: 10.42.0.0/16"]);
    const effect = (meant: Policy) => judge([natHook(rules)], meant, "nftables").map(effectText)[0];
    expect(judge([natHook(rules)], any, "nftables").map(effectText)[1]).toEndWith(
      "catches connections to 10.42.0.0/16 (except from 10.42.0.0/16)",
    );
    expect(effect(any)).toBe(
      "runs before ipmasq (priority 100) and catches connections from 10.42.0.0/16 except 10.42.0.0/24 to 10.42.0.0/16",
    );
    expect(effect(policy({ keep: ["10.42.0.0/16", "10.96.0.0/12"] }))).toBe(
      "runs before ipmasq (priority 100) and catches connections from 10.42.0.0/16 to 169.254.0.0/16 10.42.0.0/16 (except from 10.42.0.0/24) 10.96.0.0/12",
    );
    expect(effect(policy({ keep: ["10.0.0.0/8"] }))).toEndWith(
      "from 10.42.0.0/16 to 169.254.0.0/16 10.0.0.0/8",
    );
  });

  test("by source, before the rule", () => {
    const spared = `
      -A POSTROUTING -s 10.1.0.0/24 -d 10.0.0.0/8 -j RETURN
      -A POSTROUTING -s 10.1.0.0/24 -j MASQUERADE`;
    expect(found(spared)).toEqual(["unknown: 169.254.0.0/16 192.168.0.0/16"]);
    const elsewhere = spared.replace("-s 10.1.0.0/24 -d", "-s 10.1.1.0/24 -d");
    expect(found(elsewhere)).toEqual(["unknown: 169.254.0.0/16 10.0.0.0/8 192.168.0.0/16"]);
  });

  test("only before the rule, only if all connections match, and only whole CIDRs", () => {
    const masquerade = "-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE";
    const all = "unknown: 169.254.0.0/16 10.0.0.0/8 192.168.0.0/16";
    const spare = "-A POSTROUTING -d 10.0.0.0/8 -j ACCEPT";
    expect(found(`${masquerade}\n${spare}`)).toEqual([all]);
    expect(found(`-A POSTROUTING -d 10.0.0.0/8 -p tcp -j ACCEPT\n${masquerade}`)).toEqual([all]);
    expect(found(`-A POSTROUTING -d 10.0.0.0/9 -j ACCEPT\n${masquerade}`)).toEqual([all]);
    expect(found(`${spare}\n${masquerade}`)).toEqual(["unknown: 169.254.0.0/16 192.168.0.0/16"]);
    expect(
      found(
        `-A POSTROUTING -d 10.0.0.0/9 -j ACCEPT\n-A POSTROUTING -d 10.128.0.0/9 -j ACCEPT\n${masquerade}`,
      ),
    ).toEqual(["unknown: 169.254.0.0/16 192.168.0.0/16"]);
    expect(found(`-A POSTROUTING -d 10.0.0.0/8 -m set --match-set x dst -j ACCEPT\n${masquerade}`)).toEqual([
      `${all}, perhaps`,
    ]);
  });

  test("along jumps: RETURN goes back, ACCEPT ends NAT, and a goto does not come back", () => {
    const last = "-A POSTROUTING -d 10.0.0.0/8 -j MASQUERADE";
    const inner = (jump: string, target: string) =>
      found(`-A POSTROUTING ${jump} A\n-A A -d 10.0.0.0/8 -j ${target}\n${last}`);
    expect(inner("-j", "RETURN")).toEqual(["unknown: 10.0.0.0/8"]);
    expect(inner("-j", "ACCEPT")).toEqual([]);
    expect(inner("-g", "RETURN")).toEqual(["unknown: exempts 0.0.0.0/0"]);
    expect(inner("-s 10.1.0.0/16 -j", "ACCEPT")).toEqual(["unknown: 10.0.0.0/8"]);
    expect(found(`-A POSTROUTING -j A\n-A A -j A\n-A A -d 10.1.0.0/16 -j SNAT --to-source 1.2.3.4`)).toEqual([
      "unknown: 10.0.0.0/8",
    ]);
    // A later ACCEPT does not exempt connections that may have returned before.
    const returned = `-A POSTROUTING -j A\n-A A -p tcp -j RETURN\n-A A -d 10.0.0.0/8 -j ACCEPT\n${last}`;
    expect(found(returned)).toEqual(["unknown: 10.0.0.0/8"]);
  });

  test("by a rule that binds a connection to its own address", () => {
    const rules = "-A POSTROUTING -d 10.0.0.0/8 -j NETMAP --to 0.0.0.0/0\n-A POSTROUTING -j MASQUERADE";
    expect(found(rules)).toEqual(["unknown: 169.254.0.0/16 192.168.0.0/16"]);
  });

  test("sources outside of sourceCIDRs are not judged, those in nonMasqueradeSourceCIDRs are", () => {
    const rules = "-A POSTROUTING -s 172.17.0.0/16 -d 203.0.113.0/24 -j MASQUERADE";
    expect(found(rules)).toEqual(["unknown: nothing"]);
    expect(
      found("-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE", policy({ sources: ["10.244.0.0/16"] })),
    ).toEqual(["unknown: nothing"]);
    expect(found(rules, policy({ spared: ["172.17.5.0/24"] }))).toEqual(["unknown: 172.17.5.0/24"]);
    expect(found(rules, policy({ spared: ["172.18.0.0/16"] }))).toEqual(["unknown: nothing"]);
  });
});

describe("rules that only reach interfaces on which the policy masquerades nothing are harmless", () => {
  const all = "169.254.0.0/16 10.0.0.0/8 192.168.0.0/16";
  const nothing = "nothing";
  const masquerade = (out: string) => `-A POSTROUTING ${out} -j MASQUERADE`;
  test.each<[interfaces: string[], out: string, exposes: string, reached: string[] | undefined]>([
    [["eth0"], "-o wg0", nothing, ["wg0"]],
    [["eth0"], "-o eth0", all, ["eth0"]],
    [["eth*"], "-o eth1", all, ["eth1"]],
    [["eth0"], "-o eth+", all, ["eth*"]],
    [["eth0"], "! -o eth0", nothing, ["!eth0"]],
    [["eth0"], "! -o lan0", all, ["!lan0"]],
    [["eth0", "eth1"], "! -o eth0", all, ["!eth0"]],
    [["eth0", "eth1"], "! -o eth+", nothing, ["!eth*"]],
    [["!wg0"], "-o wg0", nothing, ["wg0"]],
    [["!wg*"], "-o wg+", nothing, ["wg*"]],
    [["!wg0"], "-o wg+", all, ["wg*"]],
    [["!wg0"], "! -o eth0", all, ["!eth0"]],
    [["eth0"], "", all, undefined],
  ])("outputInterfaces %j, a rule for %j", (interfaces, out, exposes, reached) => {
    const meant = policy({ keep: ["10.0.0.0/8", "192.168.0.0/16"], interfaces });
    const [conflict] = judge([natHook(masquerade(out))], meant, "nftables");
    expect([conflict && summary(conflict), conflict?.interfaces]).toEqual([`unknown: ${exposes}`, reached]);
    expect(conflict?.harmless).toBe(exposes === nothing);
  });

  test("a rule that jumps reach by several interfaces reaches all of these", () => {
    const meant = policy({ keep: ["10.0.0.0/8"], interfaces: ["eth0"] });
    const rules = (out: string) =>
      `-A POSTROUTING -o wg0 -j A\n-A POSTROUTING ${out} -j A\n-A A -j MASQUERADE`;
    expect(judge([natHook(rules("-o wg1"))], meant, "nftables")).toMatchObject([
      { exposes: [], interfaces: ["wg0", "wg1"] },
    ]);
    const [any] = judge([natHook(rules(""))], meant, "nftables");
    expect([any && summary(any), any?.interfaces]).toEqual(["unknown: 169.254.0.0/16 10.0.0.0/8", undefined]);
    expect(any && effectText(any)).toEndWith("catches connections to 169.254.0.0/16 10.0.0.0/8");
    const [wg] = judge([natHook(masquerade("-s 10.244.0.0/16 -o eth0"))], meant, "nftables");
    expect(wg && effectText(wg)).toEndWith(
      "catches connections from 10.244.0.0/16 by eth0 to 169.254.0.0/16 10.0.0.0/8",
    );
  });
});

describe("rules that match only a mark are harmless", () => {
  test.each([
    ["-A POSTROUTING -m mark --mark 0x2000/0x2000 -j MASQUERADE", "packets with mark 0x2000/0x2000"],
    ["-A POSTROUTING -m mark --mark 0x1bd11 -j MASQUERADE", "packets with mark 0x1bd11"],
    ["-A POSTROUTING -m mark ! --mark 0x0/0x4000 -j MASQUERADE", "packets with mark 0x4000/0x4000"],
    [
      "-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j ACCEPT\n-A POSTROUTING -j MASQUERADE",
      "packets with mark 0x4000/0x4000",
    ],
    [
      "-A POSTROUTING -j ts-postrouting\n-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE",
      "packets with mark 0x40000/0xff0000",
    ],
  ])("%s", (rules, only) => {
    const [first] = judge([natHook(rules)], MEANT, "iptables").filter(it => it.kind === "masquerades");
    expect(first).toMatchObject({ exposes: [], harmless: true, only });
  });

  test("rules that exclude a mark are conflicts", () => {
    const all = "169.254.0.0/16 10.0.0.0/8 192.168.0.0/16";
    expect(found("-A POSTROUTING -m mark ! --mark 0x1/0x1 -j MASQUERADE")).toEqual([`unknown: ${all}`]);
    expect(found("-A POSTROUTING -m mark --mark 0x0/0x1 -j MASQUERADE")).toEqual([`unknown: ${all}`]);
  });
});

describe("rules for one family", () => {
  const both = policy({ keep: ["10.0.0.0/8", "fd00::/8"] }, { enableIPv6: true });
  const inet = (rule: TraceableRule) =>
    judge(
      [
        natHook("", {
          tool: "nft",
          family: "inet",
          table: "other",
          chains: new Map([["POSTROUTING", [rule]]]),
        }),
      ],
      both,
      "nftables",
    ).map(summary);
  const masquerade = { does: "masquerade" } as const;
  const four = "169.254.0.0/16 10.0.0.0/8";
  const six = "fe80::/10 fd00::/8";

  test("in a table of both families", () => {
    expect(inet({ text: "masquerade", conditions: [], action: masquerade })).toEqual([
      `unknown: ${four} ${six}`,
    ]);
    const only = (family: "ip" | "ip6", not = false) =>
      inet({ text: "", conditions: [{ on: "family", not, family }], action: masquerade });
    expect(only("ip")).toEqual([`unknown: ${four}`]);
    expect(only("ip6")).toEqual([`unknown: ${six}`]);
    expect(only("ip", true)).toEqual([`unknown: ${six}`]);
  });

  test("by an address of the family, negated or not", () => {
    const cidrs = [Cidr.literal("10.1.0.0/16")];
    for (const not of [false, true]) {
      const conditions = [{ on: "source", not, cidrs }] as const;
      expect(inet({ text: "", conditions, action: masquerade })).toEqual([`unknown: ${four}`]);
    }
  });
});

test("a table with our name in a family outside of the policy is a conflict", () => {
  const masquerade: TraceableRule = { text: "masquerade", conditions: [], action: { does: "masquerade" } };
  const hook = (family: "ip" | "ip6" | "inet") =>
    natHook("", {
      tool: "nft",
      family,
      table: "ip-masq-agent",
      base: "postrouting",
      priority: 101,
      chains: new Map([["postrouting", [masquerade]]]),
    });
  const judged = (family: "ip" | "ip6" | "inet", meant = MEANT) =>
    judge([hook(family)], meant, "nftables").map(summary);
  expect(judged("ip")).toEqual([]);
  expect(judged("inet")).toEqual(["another ip-masq-agent: 169.254.0.0/16 10.0.0.0/8 192.168.0.0/16"]);
  expect(judged("ip6")).toEqual(["another ip-masq-agent: ::/0"]);
  expect(judged("ip6", policy({}, { enableIPv6: true }))).toEqual([]);
});

test("at our priority the base chain registered last runs first", () => {
  const runs = (registeredAfterUs: boolean) =>
    judge([natHook("-A POSTROUTING -j MASQUERADE", { priority: 101, registeredAfterUs })], MEANT, "nftables");
  expect(runs(true)).toMatchObject([{ runs: "before ipmasq" }]);
  expect(runs(false)).toMatchObject([{ runs: "after ipmasq" }]);
});

const OURS = `
  -A POSTROUTING -m comment --comment "ip-masq-agent: ensure …" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
  -A IP-MASQ-AGENT -d 10.0.0.0/8 -m comment --comment "ip-masq-agent: cluster-local traffic" -j RETURN
  -A IP-MASQ-AGENT -m comment --comment "ip-masq-agent: outbound traffic" -j MASQUERADE --random-fully`;

test("our own chain is ours with any backend, the chain of an ip-masq-agent is not", () => {
  expect(judge([natHook(OURS)], MEANT, "nftables")).toEqual([]);
  expect(judge([natHook(OURS)], MEANT, "iptables")).toEqual([]);
  expect(judge([natHook(OURS)], MEANT, undefined)).toEqual([]);
  const theirs = OURS.replaceAll(
    "outbound traffic",
    "outbound traffic is subject to MASQUERADE (must be last in chain)",
  );
  expect(judge([natHook(theirs)], MEANT, "nftables").map(summary)).toEqual([
    "another ip-masq-agent: 169.254.0.0/16 192.168.0.0/16",
  ]);
});

test("rules in the table of our jump run before or after ours by their position", () => {
  const rules = `-A POSTROUTING -s 10.1.0.0/16 -j MASQUERADE${OURS}\n-A POSTROUTING -s 10.2.0.0/16 -j MASQUERADE`;
  expect(
    judge([natHook(rules)], MEANT, "iptables").map(({ rule, runs }) => [rule.slice(15, 29), runs]),
  ).toEqual([
    ["-s 10.1.0.0/16", "before ipmasq"],
    ["-s 10.2.0.0/16", "after ipmasq"],
  ]);
});

describe("exemptions from NAT", () => {
  const exempt = (rules: string, meant = MEANT, about = {}) =>
    exemptions([natHook(rules, about)], ourSide(meant, "nftables")).map(summary);

  test.each([
    ["-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT", "198.51.100.0/24"],
    ["-A POSTROUTING -d 198.51.100.0/24 -j RETURN", "198.51.100.0/24"],
    ["-A POSTROUTING -s 10.244.9.0/24 -j ACCEPT", "0.0.0.0/0"],
    ["-A POSTROUTING -m mark --mark 0x1 -j ACCEPT", "0.0.0.0/0, packets with mark 0x1"],
    ["-A POSTROUTING -p esp -j ACCEPT", "0.0.0.0/0, esp packets"],
    [
      "-A POSTROUTING -p udp -m udp --dport 500 -j ACCEPT",
      "0.0.0.0/0, udp packets with destination port 500",
    ],
    [
      "-A POSTROUTING -p udp -m multiport --dports 500,4500:4501 -m mark --mark 0x1 -j ACCEPT",
      "0.0.0.0/0, udp packets with destination port 500,4500-4501 and mark 0x1",
    ],
    [
      "-A POSTROUTING -p tcp -m tcp ! --dport 80 -j RETURN",
      "0.0.0.0/0, tcp packets with destination port other than 80",
    ],
    ["-A POSTROUTING -p udp -m udp --sport 500 -j ACCEPT", "0.0.0.0/0, udp packets, perhaps"],
    ["-A POSTROUTING -j A\n-A A -d 198.51.100.0/24 -j ACCEPT", "198.51.100.0/24"],
    ["-A POSTROUTING -d 198.51.100.0/24 -g A\n-A A -j RETURN", "198.51.100.0/24"],
    ["-A POSTROUTING -m set --match-set vpn dst -j ACCEPT", "0.0.0.0/0, perhaps"],
    ["-A POSTROUTING ! -d 10.0.0.0/8 -o wg0 -j ACCEPT", "0.0.0.0/0"],
  ])("%s", (rules, exempts) => {
    expect(exempt(rules)).toEqual([`unknown: exempts ${exempts}`]);
  });

  test.each([
    "-A POSTROUTING -d 10.1.0.0/16 -j ACCEPT",
    "-A POSTROUTING -j A\n-A A -d 198.51.100.0/24 -j RETURN",
    "-A POSTROUTING -d 224.0.0.0/4 -j RETURN",
    "-A POSTROUTING -d 255.255.255.255/32 -j RETURN",
    "-A POSTROUTING -d 127.0.0.0/8 -j ACCEPT",
    "-A POSTROUTING -o lo -j ACCEPT",
    "-A POSTROUTING -m addrtype --dst-type LOCAL -j ACCEPT",
    "-A POSTROUTING -d 198.51.100.0/24 -j MASQUERADE\n-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT",
    "-A POSTROUTING -d 198.51.100.0/24 -j NETMAP --to 0.0.0.0/0",
    // A CNI plugin with ipMasq: the policy keeps the Pod network anyway.
    `-A POSTROUTING -s 10.244.1.2/32 -j CNI-0123456789abcdef01234567
     -A CNI-0123456789abcdef01234567 -d 10.244.0.0/16 -j ACCEPT
     -A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 -j MASQUERADE`,
    // kube-proxy's RETURN goes back to POSTROUTING.
    `-A POSTROUTING -j KUBE-POSTROUTING
     -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
     -A KUBE-POSTROUTING -j MASQUERADE`,
    // After our own jump.
    `${OURS}\n-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT`,
  ])("none: %s", rules => {
    expect(exempt(rules)).toEqual([]);
  });

  test("exemptions of kept connections do not count", () => {
    const rules = "-A POSTROUTING -s 172.17.0.0/16 -j ACCEPT";
    expect(exempt(rules, policy({ sources: ["10.244.0.0/16"] }))).toEqual([]);
    expect(exempt(rules, policy({ spared: ["172.16.0.0/12"] }))).toEqual([]);
    expect(exempt("-A POSTROUTING -o wg0 -j ACCEPT", policy({ interfaces: ["eth*"] }))).toEqual([]);
    expect(exempt("-A POSTROUTING -o eth1 -j ACCEPT", policy({ interfaces: ["eth*"] }))).toHaveLength(1);
  });

  test("IPv6 counts only if it is enabled", () => {
    const six = policy({ keep: ["fd00::/8"] }, { enableIPv6: true });
    const judged = (rules: string, meant = six) => exempt(rules, meant, { family: "ip6" });
    expect(judged("-A POSTROUTING -d 2001:db8:1::/48 -j ACCEPT")).toEqual([
      "unknown: exempts 2001:db8:1::/48",
    ]);
    expect(judged("-A POSTROUTING -d 2001:db8:1::/48 -j ACCEPT", MEANT)).toEqual([]);
    for (const cidr of ["fd12::/16", "ff02::/16", "::1/128", "fe80::/10"]) {
      expect(judged(`-A POSTROUTING -d ${cidr} -j ACCEPT`)).toEqual([]);
    }
    expect(judged("-A POSTROUTING -d 2001:db8:1::/48 -j NETMAP --to ::/0")).toEqual([]);
  });

  test("an ACCEPT in a base chain of another table has no effect", () => {
    const rules = "-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT";
    expect(exempt(rules, MEANT, { tool: "nft", table: "other", priority: 99 })).toEqual([]);
  });

  test("the remedy names config keys; with the iptables backend they are harmless", () => {
    const rules = "-A POSTROUTING -d 198.51.100.0/24 -j ACCEPT";
    const [it] = exemptions([natHook(rules)], ourSide(MEANT, "nftables"));
    expect(it).toMatchObject({
      harmless: false,
      remedy:
        "start the agent with --backend=iptables, where the rule takes effect, or add 198.51.100.0/24 to nonMasqueradeCIDRs",
    });
    expect(exemptions([natHook(rules)], ourSide(MEANT, "iptables"))).toMatchObject([{ harmless: true }]);
    const [source] = exemptions(
      [natHook("-A POSTROUTING -s 10.244.9.0/24 -j ACCEPT")],
      ourSide(MEANT, "nftables"),
    );
    expect(source?.remedy).toEndWith("or add 10.244.9.0/24 to nonMasqueradeSourceCIDRs");
    const [marked] = exemptions(
      [natHook("-A POSTROUTING -m mark --mark 1 -j ACCEPT")],
      ourSide(MEANT, "nftables"),
    );
    expect(marked?.remedy).toBe("start the agent with --backend=iptables, where the rule takes effect");
  });
});

test("the time for long lists grows in proportion to their length", () => {
  const keep = Array.from(
    { length: 20_000 },
    (_, i) => `172.${16 + (i >> 13)}.${(i >> 5) & 255}.${(i & 31) * 8}/30`,
  );
  const returns = keep.slice(0, 10_000).map(cidr => `-A THEIRS -d ${cidr} -j RETURN\n`);
  const rules = `-A POSTROUTING -j THEIRS\n${returns.join("")}-A THEIRS -j MASQUERADE`;
  const [first] = judge([natHook(rules)], policy({ keep, masqLinkLocal: true }), "nftables");
  expect(first?.exposes).toEqual(keep.slice(10_000, 11_000));
});

test("a long list beside the chains of many Pods", () => {
  const keep = Array.from(
    { length: 45_000 },
    (_, i) => `${20 + (i >> 14)}.${(i >> 6) & 255}.${(i & 63) * 4}.0/24`,
  );
  const pods = Array.from({ length: 110 }, (_, i) => {
    const name = `CNI-${i.toString(16).padStart(24, "0")}`;
    return `-A POSTROUTING -s 10.244.1.${i}/32 -j ${name}\n-A ${name} -d 10.244.0.0/16 -j ACCEPT\n-A ${name} ! -d 224.0.0.0/4 -j MASQUERADE\n`;
  });
  const all = judge([natHook(pods.join(""))], policy({ keep: [...keep, "10.0.0.0/8"] }), "nftables");
  expect(all).toHaveLength(110);
  expect(all[0]).toMatchObject({ exposes: { length: 100 }, andMore: true });
});

test("chains with exponentially many ways end, and are reported as cut short", () => {
  const chains = Array.from({ length: 15 }, (_, i) =>
    `-A C${i} -j C${i + 1}\n-A C${i} -p tcp -j C${i + 1}\n`.repeat(2),
  );
  const rules = `-A POSTROUTING -j C0\n${chains.join("")}-A C15 -s 10.9.0.0/16 -j MASQUERADE`;
  const cut: string[] = [];
  expect(judge([natHook(rules)], MEANT, "nftables", ({ base }) => cut.push(base))).toHaveLength(1);
  expect(cut[0]).toBe("POSTROUTING");
});

test("rules that are followed to their end are not reported as cut short", () => {
  const cut: string[] = [];
  judge([natHook("-A POSTROUTING -j MASQUERADE")], MEANT, "nftables", ({ base }) => cut.push(base));
  expect(cut).toEqual([]);
});

describe("enforceNonMasquerade", () => {
  const FLANNEL = `
    -A POSTROUTING -j FLANNEL-POSTRTG
    -A FLANNEL-POSTRTG -s 10.42.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE`;
  const FIRST = "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT-ENF";
  const KEY = "or set enforceNonMasquerade: true";
  const off = policy({ keep: ["10.0.0.0/8"] });
  const on = policy({ keep: ["10.0.0.0/8"], enforce: true });
  const said = (hooks: ReturnType<typeof natHook>[], meant: Policy, backend: string) =>
    judge(hooks, meant, backend).map(({ defeated, harmless, remedy }) => {
      if (defeated) return `defeated, ${harmless ? "harmless" : "harmful"}`;
      return `${harmless ? "harmless" : "harmful"}${remedy.endsWith(KEY) ? ", helps" : ""}`;
    });
  const elsewhere = (priority: number) => natHook(FLANNEL, { table: "theirs", tool: "nft", priority });

  test("with nftables, defeats rules at a later priority", () => {
    const priorities = [79, 80, 81, 90, 100, 101];
    expect(priorities.flatMap(it => said([elsewhere(it)], off, "nftables"))).toEqual([
      ...["harmful", "harmful"],
      ...Array.from({ length: 4 }, () => "harmful, helps"),
    ]);
    expect(priorities.flatMap(it => said([elsewhere(it)], on, "nftables"))).toEqual([
      ...["harmful", "harmful"],
      ...Array.from({ length: 4 }, () => "defeated, harmless"),
    ]);
    expect(said([natHook(FLANNEL)], on, "nftables")).toEqual(["defeated, harmless"]);
  });

  test("with iptables, defeats rules after the jump, if that exists", () => {
    expect(said([natHook(FLANNEL)], off, "iptables")).toEqual(["harmful, helps"]);
    expect(said([natHook(FLANNEL)], on, "iptables")).toEqual(["harmful"]); // no NETMAP
    expect(said([natHook(`${FIRST}${FLANNEL}`)], on, "iptables")).toEqual(["defeated, harmless"]);
    expect(said([natHook(`${FLANNEL}\n${FIRST}`)], on, "iptables")).toEqual(["harmful"]);
    const ours = natHook(FIRST);
    expect([99, 100, 101].flatMap(it => said([ours, elsewhere(it)], on, "iptables"))).toEqual([
      ...["harmful", "harmful", "defeated, harmless"],
    ]);
  });

  test("does not help against rules of a family that ipmasq does not manage", () => {
    const six = natHook("-A POSTROUTING -j MASQUERADE", {
      family: "ip6",
      table: "ip-masq-agent",
      tool: "nft",
    });
    expect(said([six], off, "nftables")).toEqual(["harmful"]);
    expect(said([six], on, "nftables")).toEqual(["harmful"]);
  });
});
