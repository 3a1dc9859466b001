import { expect, test } from "bun:test";
import type { Conflict } from "../../src/conflicts/conflict.ts";
import { type Headline, headlineOf } from "../../src/inspect/headline.ts";
import { RateMeter } from "../../src/inspect/rates.ts";
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
  expect(statusText(common).join("\n")).toBe(`in force      yes, since 2026-01-02 03:04:05 UTC
overruled     no
problems      none

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

test("the reason is in the first line, several problems have a section", () => {
  const { policy: _, backend: __, ...rest } = common;
  const lines = statusText({
    ...rest,
    inSync: false,
    why: "no nft",
    cidrs: [],
    outbound: [],
    problems: ["a", "b"],
  });
  expect(lines.slice(0, 7)).toEqual([
    "in force     NO, since 2026-01-02 03:04:05 UTC: no nft",
    "overruled    no",
    "problems     2; the first is: a",
    "",
    "problems",
    "  a",
    "  b",
  ]);
  expect(lines).toContain("backend      none");
});

test("notes are at the end, and one problem is in the headline", () => {
  const lines = statusText({
    ...common,
    notes: ["sourceCIDRs is not set"],
    problems: ["2026 failed: no nft"],
  });
  expect(lines[2]).toBe("problems      2026 failed: no nft");
  expect(lines.slice(-3)).toEqual(["", "notes", "  sourceCIDRs is not set"]);
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
  expect(lines[1]).toBe(
    "overruled     by flannel for 10.0.0.0/8; perhaps by an unknown program for 198.51.100.0/24",
  );
  expect(lines.slice(3, 11)).toEqual([
    "",
    "conflicts",
    "  flannel: -A FLANNEL-POSTRTG -j MASQUERADE (iptables-nft, table ip nat, chain FLANNEL-POSTRTG)",
    "    runs before ipmasq (priority 100) and catches connections from 10.244.0.0/16 to 10.0.0.0/8",
    "    flannel masquerades traffic that leaves the Pod network; start flanneld without --ip-masq",
    "  unknown: -A FLANNEL-POSTRTG -j MASQUERADE (iptables-nft, table ip nat, chain FLANNEL-POSTRTG)",
    "    may exempt packets with mark 0x1 from 10.244.0.0/16 to 198.51.100.0/24 from NAT, but ipmasq masquerades them",
    "    start the agent with --backend=iptables",
  ]);
  expect(lines.slice(-2)).toEqual([
    "",
    "harmless NAT rules: kube-proxy, tailscale (only packets with mark 0x40000/0xff0000)",
  ]);
});

const many = policy({ keep: Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`) });

test("a long list is cut to the CIDRs with the most connections, unless all are requested", () => {
  const busy = [counter("keep", "10.3.200.0/24", 7, 420)];
  const status = { ...common, ...policyStatus(many, busy) };
  const lines = statusText(status);
  expect(lines.length).toBeLessThan(60);
  expect(lines.at(-1)).toBe("and 961 CIDRs with fewer connections; --all shows them");
  expect(lines.filter(line => line.startsWith("10.3.200.0/24 "))).toHaveLength(1);
  expect(statusText(status, { all: true }).filter(line => / keep /.test(line))).toHaveLength(1001);
});

test.each([
  [80, 24],
  [60, 30],
  [40, 24],
])("on a terminal of %d columns and %d lines, it fits", (width, height) => {
  const problems = ["a problem ".repeat(30), "another problem", "/a/path/without/blanks".repeat(10)];
  const status = { ...common, ...policyStatus(many, []), problems };
  for (const it of [
    statusText({ ...status, problems: [] }, { room: { width, height } }),
    statusText(status, { room: { width, height }, all: true }),
    statusText(status, { room: { width, height }, rates: () => 1.25 }),
  ])
    expect(it.filter(line => line.length > width)).toEqual([]);
  const lines = statusText({ ...status, problems: [] }, { room: { width, height } });
  if (width >= 60) expect(lines.length).toBeLessThan(height);
});

test.each<[level: Headline["level"], change: Partial<Status>, inForce: string, problems: string]>([
  ["good", {}, "yes, since 2026-01-02 03:04:05 UTC", "none"],
  ["bad", { inSync: false, why: "no nft" }, "NO, since 2026-01-02 03:04:05 UTC: no nft", "none"],
  [
    "warn",
    { contested: true },
    "yes, since 2026-01-02 03:04:05 UTC, but contested: another program keeps changing the rules",
    "none",
  ],
  [
    "warn",
    { configRejected: true, problems: ["/config:3:5: wrong"] },
    "yes, since 2026-01-02 03:04:05 UTC",
    "the config is rejected; the last good policy stays active",
  ],
  ["warn", { from: "kernel" }, "yes, but no agent answers", "none"],
])("the level of the headline is %s with %p", (level, change, inForce, problems) => {
  expect(headlineOf({ ...common, ...change })).toEqual({ level, inForce, overruled: "no", problems });
});

test("foreign rules that cannot be read are not taken for harmless", () => {
  const unread = ["nft: crashed"];
  expect(headlineOf({ ...common, unread }).overruled).toBe("not known: some foreign rules cannot be read");
});

test("rates are the connections since the last look", () => {
  const meter = new RateMeter();
  const look = (connections: number, now: number) => {
    const { cidrs, outbound } = policyStatus(meant, [counter("keep", "10.0.0.0/8", connections, 0)]);
    const rates = meter.look({ cidrs, outbound }, now);
    return cidrs.flatMap(it => (it.cidr === "10.0.0.0/8" ? [rates(it)] : []));
  };
  expect(look(10, 0)).toEqual([undefined]);
  expect(look(15, 2000)).toEqual([2.5]);
  expect(look(3, 4000)).toEqual([undefined]);
});
