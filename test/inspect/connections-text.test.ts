import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Connections, StaleConnection } from "../../src/inspect/connections.ts";
import { connectionsText, forgottenText, portsText, staleText } from "../../src/inspect/connections-text.ts";

const PAGE = await Bun.file(join(import.meta.dir, "../../docs/connections.md")).text();

/** The lines of the page that a command printed. */
function quoted(command: string): string[] {
  const [, text = ""] = PAGE.split(`    $ ${command}\n`);
  const end = text.search(/^(?! {4}|$)| {4}\$ /m); // a paragraph, or the next command
  return text
    .slice(0, end)
    .trimEnd()
    .split("\n")
    .map(line => line.slice(4));
}

const NONE = { kept: 0, masqueraded: 0, node: 0, tcp: 0, udp: 0, other: 0, stale: 0 };
const AT = { file: "/etc/config/ip-masq-agent", column: 5 };
const CONNECTIONS: Connections = {
  policyFrom: "agent",
  judgedBy: "the policy of the active agent (/etc/config/ip-masq-agent)",
  table: { entries: 4127, limit: 262144 },
  cidrs: [
    { ...NONE, cidr: "169.254.0.0/16", family: "ip", verdict: "keep", origin: { default: true } },
    {
      ...{ cidr: "10.0.0.0/8", family: "ip", verdict: "keep", origin: { ...AT, line: 2 } },
      ...{ kept: 2961, masqueraded: 0, node: 310, tcp: 2604, udp: 667, other: 0, stale: 0 },
    },
    {
      ...{ cidr: "203.0.113.0/24", family: "ip", verdict: "keep", origin: { ...AT, line: 3 } },
      ...{ kept: 4, masqueraded: 3, node: 0, tcp: 6, udp: 1, other: 0, stale: 3 },
    },
    {
      ...{ family: "ip", verdict: "masquerade" },
      ...{ kept: 0, masqueraded: 702, node: 21, tcp: 590, udp: 133, other: 0, stale: 0 },
    },
  ],
  stale: { tcp: 2, udp: 1, other: 0 },
  overruled: 0,
  undecided: { service: 0, mark: 0, interface: 0 },
  exempt: { node: 124, group: 0, hairpin: 2, zone: 0, ended: 0 },
};

const KEPT: Pick<StaleConnection, "verdict" | "rule" | "cidr" | "reason" | "certain"> = {
  certain: true,
  verdict: "keep",
  rule: "non-masquerade-cidr",
  cidr: "203.0.113.0/24",
  reason: "203.0.113.7 is in the non-masquerade CIDR 203.0.113.0/24 (/etc/config/ip-masq-agent:3)",
};
const STALE: StaleConnection[] = [
  {
    ...{ family: "ip", protocol: "tcp", state: "ESTABLISHED", ...KEPT },
    source: { address: "10.244.1.2", port: 43210 },
    destination: { address: "203.0.113.7", port: 5432 },
    seenFrom: { address: "198.51.100.2", port: 1061 },
  },
  {
    ...{ family: "ip", protocol: "tcp", state: "ESTABLISHED", ...KEPT },
    source: { address: "10.244.3.9", port: 51022 },
    destination: { address: "10.96.12.1", port: 5432 },
    translated: { address: "203.0.113.7", port: 5432 },
    seenFrom: { address: "198.51.100.2", port: 40118 },
  },
  {
    ...{ family: "ip", protocol: "udp", ...KEPT },
    source: { address: "10.244.1.2", port: 40001 },
    destination: { address: "203.0.113.7", port: 514 },
    seenFrom: { address: "198.51.100.2", port: 11071 },
  },
];

test("the page shows what the commands print", () => {
  expect(quoted("ipmasq connections")).toEqual(connectionsText(CONNECTIONS));
  expect(quoted("ipmasq connections --stale")).toEqual(STALE.map(staleText));
  const forgotten = { ...CONNECTIONS.stale, ended: 0 };
  expect(quoted("ipmasq connections --forget-stale --dry-run")).toEqual(
    forgottenText({ ...forgotten, dryRun: true }),
  );
  expect(quoted("ipmasq connections --forget-stale")).toEqual(forgottenText({ ...forgotten, dryRun: false }));
  const use = {
    family: "ip",
    address: "198.51.100.2",
    ports: "1024-65535",
    available: 64_512,
    uncounted: 0,
  } as const;
  expect(quoted("ipmasq connections --ports")).toEqual(
    portsText([
      { ...use, protocol: "tcp", destination: "203.0.113.80", port: 443, used: 60_874 },
      { ...use, protocol: "udp", destination: "192.0.2.53", port: 53, used: 911 },
    ]),
  );
});

test("IPv6 addresses with a port have brackets, and control characters are escaped", () => {
  const text = staleText({
    ...{ family: "ip6", protocol: "udp", verdict: "masquerade", rule: "outbound", reason: "\u001b[2J" },
    source: { address: "fd00::1", port: 1 },
    destination: { address: "2001:db8::7", port: 53 },
    seenFrom: { address: "fd00::1", port: 1 },
    address: "2001:db8::2",
    certain: true,
  });
  expect(text).toBe(
    "udp [fd00::1]:1 to [2001:db8::7]:53 is seen from [fd00::1]:1; a new connection is masqueraded to 2001:db8::2: \\u{1b}[2J",
  );
});

test("with many CIDRs, those with the most connections are shown", () => {
  const cidrs = Array.from({ length: 60 }, (_, i) => ({
    ...({ ...NONE, cidr: `10.0.${i}.0/24`, family: "ip", verdict: "keep", tcp: i, kept: i } as const),
  }));
  const text = connectionsText({ ...CONNECTIONS, cidrs });
  expect(text[1]).toStartWith("10.0.20.0/24 ");
  expect(text).toContain("and 20 CIDRs with fewer connections; --output=json has all");
  const small = connectionsText({ ...CONNECTIONS, cidrs }, { width: 80, height: 20 });
  expect(small.length).toBeLessThan(20);
  expect(small.filter(line => line.length > 80)).toEqual([]);
});
