import { expect, test } from "bun:test";
import type { Conflict } from "../../src/conflicts/conflict.ts";
import { policyStatus, type Status } from "../../src/inspect/status.ts";
import { statusText } from "../../src/inspect/status-text.ts";
import { counter } from "../observe/agent-states.ts";
import { policy } from "../policies.ts";

const meant = policy(
  {
    keep: ["10.0.0.0/8", "10.1.0.0/16"],
    masquerade: ["10.96.0.0/12"],
    sources: ["10.244.0.0/16"],
    interfaces: ["eth*"],
  },
  { toPorts: [{ first: 1024, last: 2000 }] },
);
const counters = [
  counter("masquerade", "10.96.0.0/12", 1, 60),
  counter("keep", "10.0.0.0/8", 12, 720),
  counter("masquerade", "rest", 3, 180),
];
const common: Status = {
  from: "agent",
  version: "1.2.3",
  backend: "nftables",
  writer: "nft",
  reason: "--backend=nftables",
  inSync: true,
  since: "2026-01-02T03:04:05.678Z",
  config: "/config",
  ...policyStatus(meant, counters),
  conntrack: { entries: 5, limit: 10, insertFailed: 7 },
  conflicts: [],
  problems: [],
};

test("each CIDR has its counts, or the CIDR that covers it", () => {
  expect(policyStatus(meant, counters)).toEqual({
    policy: {
      chain: "IP-MASQ-AGENT",
      families: ["ip"],
      sourceCIDRs: ["10.244.0.0/16"],
      outputInterfaces: ["eth*"],
      toPorts: "1024-2000",
      randomFully: true,
    },
    cidrs: [
      { cidr: "10.96.0.0/12", family: "ip", verdict: "masquerade", origin: at(2), connections: 1, bytes: 60 },
      { cidr: "169.254.0.0/16", family: "ip", verdict: "keep", origin: { default: true } },
      { cidr: "10.0.0.0/8", family: "ip", verdict: "keep", origin: at(2), connections: 12, bytes: 720 },
      { cidr: "10.1.0.0/16", family: "ip", verdict: "keep", origin: at(3), inside: "10.0.0.0/8" },
    ],
    outbound: [{ family: "ip", connections: 3, bytes: 180 }],
  });
});

function at(line: number) {
  return { file: "/config", line, column: 5 };
}

test("as text, on one screen", () => {
  expect(statusText(common).join("\n")).toBe(`in sync since 2026-01-02 03:04:05 UTC

reported by   the agent, version 1.2.3
backend       nftables, by nft: --backend=nftables
config        /config
chain         IP-MASQ-AGENT
source ports  1024-2000
random ports  yes
sources       only 10.244.0.0/16
interfaces    only eth*
conntrack     5 of 10 connections (50 %); 7 dropped

CIDR            VERDICT        CONNECTIONS  BYTES  FROM
10.96.0.0/12    masquerade               1     60  /config:2
169.254.0.0/16  keep                     -      -  default
10.0.0.0/8      keep                    12    720  /config:2
10.1.0.0/16     in 10.0.0.0/8            -      -  /config:3
all other IPv4  masquerade               3    180`);
});

test("the reason is in the first line, problems are in the last ones", () => {
  const { policy: _, backend: __, ...rest } = common;
  const lines = statusText({
    ...rest,
    inSync: false,
    why: "no nft",
    cidrs: [],
    outbound: [],
    problems: ["a", "b"],
  });
  expect(lines[0]).toBe("NOT in sync since 2026-01-02 03:04:05 UTC: no nft");
  expect(lines).toContain("backend      none");
  expect(lines.slice(-3)).toEqual(["problems", "  a", "  b"]);
});

test("notes come before problems", () => {
  const lines = statusText({
    ...common,
    notes: ["sourceCIDRs is not set"],
    problems: ["2026 failed: no nft"],
  });
  expect(lines.slice(-5)).toEqual([
    "notes",
    "  sourceCIDRs is not set",
    "",
    "problems",
    "  2026 failed: no nft",
  ]);
});

test("conflicts have their effect and remedy, harmless ones only their owner", () => {
  const rule: Conflict = {
    owner: "flannel",
    tool: "iptables-nft",
    family: "ip",
    table: "nat",
    chain: "FLANNEL-POSTRTG",
    rule: "-A FLANNEL-POSTRTG -j MASQUERADE",
    priority: 100,
    runs: "before ipmasq",
    exposes: ["10.0.0.0/8"],
    sources: ["10.244.0.0/16"],
    means: "masquerades traffic that leaves the Pod network",
    certain: true,
    harmless: false,
    remedy: "start flanneld without --ip-masq",
  };
  const lines = statusText({
    ...common,
    conflicts: [
      rule,
      {
        ...rule,
        kind: "exempts",
        owner: "unknown",
        means: undefined,
        exposes: [],
        exempts: ["198.51.100.0/24"],
        only: "packets with mark 0x1",
        certain: false,
        remedy: "start the agent with --backend=iptables",
      },
      { ...rule, owner: "kube-proxy", harmless: true },
      { ...rule, owner: "tailscale", harmless: true, only: "packets with mark 0x40000/0xff0000" },
    ],
  });
  expect(lines.slice(-10)).toEqual([
    "",
    "conflicts",
    "  flannel: -A FLANNEL-POSTRTG -j MASQUERADE (iptables-nft, table ip nat, chain FLANNEL-POSTRTG)",
    "    runs before ipmasq (priority 100) and catches connections from 10.244.0.0/16 to 10.0.0.0/8",
    "    flannel masquerades traffic that leaves the Pod network; start flanneld without --ip-masq",
    "  unknown: -A FLANNEL-POSTRTG -j MASQUERADE (iptables-nft, table ip nat, chain FLANNEL-POSTRTG)",
    "    may exempt packets with mark 0x1 from 10.244.0.0/16 to 198.51.100.0/24 from NAT, but ipmasq masquerades them",
    "    start the agent with --backend=iptables",
    "",
    "harmless NAT rules: kube-proxy, tailscale (only packets with mark 0x40000/0xff0000)",
  ]);
});

test("a long list is cut", () => {
  const many = policy({ keep: Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`) });
  const lines = statusText({ ...common, ...policyStatus(many, []) });
  expect(lines.length).toBeLessThan(60);
  expect(lines.at(-1)).toBe("and 961 more; --output=json has all");
});
