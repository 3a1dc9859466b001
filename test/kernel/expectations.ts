import type { Lab } from "../../lab/lab.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { policy } from "../policies.ts";

export const PROTOCOLS = ["tcp", "udp", "icmp"] as const;
export const BOTH = { enableIPv6: true };

/** A destination, whose address the server sees there by each protocol, and the Pod's address that it comes from. */
export type Expectation = readonly [to: string, owner: "pod" | "node", from?: string];

/** The Pod's second address of each family. */
export const OTHER = "10.244.9.9";
export const OTHER6 = "fd00:10:244:9::9";

/** Destinations by the owner of the source address that their server sees. */
interface Owners {
  readonly pod?: string;
  readonly node?: string;
}

/** Policies of every kind. `fromOther` are connections from the Pod's second address. */
const ROWS: readonly (readonly [name: string, Policy, Owners & { readonly fromOther?: Owners }])[] = [
  [
    "the defaults",
    policy(),
    {
      pod: "10.0.0.0 10.255.255.255 169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 fd00::7 2001:db8:1::7",
      node: "9.255.255.255 11.0.0.0 100.64.0.1 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0 203.0.113.7 255.255.255.254",
    },
  ],
  [
    "the defaults with IPv6, which keep only its link-local addresses",
    policy({}, BOTH),
    { pod: "10.1.2.3", node: "203.0.113.7 fd00::7 2001:db8:1::7" },
  ],
  [
    "masqLinkLocal",
    policy({ masqLinkLocal: true }),
    { pod: "10.1.2.3", node: "169.254.0.0 169.254.169.254" },
  ],
  [
    "--nomasq-all-reserved-ranges",
    policy({}, { nomasqAllReservedRanges: true }),
    {
      pod: "10.1.2.3 100.64.0.0 100.127.255.255 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.0 198.51.100.7 203.0.113.7 240.0.0.0",
      node: "100.128.0.0 192.0.1.0 198.17.255.255 223.255.255.255",
    },
  ],
  [
    "nonMasqueradeCIDRs",
    policy({ keep: ["203.0.113.0/24", "192.0.2.1/32", "2001:db8:1::/48"] }, BOTH),
    {
      pod: "169.254.10.10 192.0.2.1 203.0.113.0 203.0.113.255 2001:db8:1:: 2001:db8:1:ffff:ffff:ffff:ffff:ffff",
      node: "10.1.2.3 192.0.2.0 192.0.2.2 203.0.114.0 2001:db8:0:ffff:ffff:ffff:ffff:ffff 2001:db8:2::",
    },
  ],
  [
    "nonMasqueradeCIDRs that are nested and adjacent",
    policy({ keep: ["10.1.0.0/16", "10.0.0.0/8", "203.0.113.0/25", "203.0.113.128/25", "203.0.113.7/32"] }),
    { pod: "10.1.2.3 10.2.2.3 203.0.113.7 203.0.113.127 203.0.113.128", node: "203.0.112.255 203.0.114.0" },
  ],
  [
    "nonMasqueradeCIDRs that contain everything",
    policy({ keep: ["0.0.0.0/0", "::/0"] }, BOTH),
    { pod: "0.0.0.1 10.1.2.3 255.255.255.254 ::2 feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
  ],
  [
    "nonMasqueradeCIDRs empty: everything but link-local",
    policy({ keep: [] }, BOTH),
    { pod: "169.254.10.10", node: "10.1.2.3 172.16.1.2 192.168.1.2 203.0.113.7 fd00::7" },
  ],
  [
    "nonMasqueradeCIDRs empty and masqLinkLocal: everything",
    policy({ keep: [], masqLinkLocal: true, masqLinkLocalIPv6: true }, BOTH),
    {
      node: "0.0.0.1 10.1.2.3 169.254.10.10 255.255.255.254 ::2 fd00::7 feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    },
  ],
  [
    "masqueradeCIDRs, which beat nonMasqueradeCIDRs and link-local",
    policy(
      {
        keep: ["10.0.0.0/8", "10.97.0.0/16", "fd00::/8"],
        masquerade: ["10.96.0.0/12", "169.254.169.254/32", "fd00:96::/32"],
      },
      BOTH,
    ),
    {
      pod: "10.95.255.255 10.112.0.0 169.254.169.253 fd00:95::7",
      node: "10.96.0.0 10.97.1.2 10.111.255.255 169.254.169.254 203.0.113.7 fd00:96::7 2001:db8:1::7",
    },
  ],
  [
    "sourceCIDRs",
    policy({ keep: ["10.0.0.0/8"], sources: ["10.244.9.0/24", "fd00:10:244:9::/64"] }, BOTH),
    { pod: "203.0.113.7 2001:db8:1::7", fromOther: { pod: "10.1.2.3", node: "203.0.113.7 2001:db8:1::7" } },
  ],
  [
    "sourceCIDRs, which beat masqueradeCIDRs",
    policy({ masquerade: ["10.96.0.0/12"], sources: ["10.244.9.9/32"] }),
    { pod: "10.96.0.1", fromOther: { node: "10.96.0.1" } },
  ],
  [
    "sourceCIDRs of only IPv6: no IPv4",
    policy({ sources: ["fd00::/8"] }, BOTH),
    { pod: "203.0.113.7", node: "2001:db8:1::7" },
  ],
  [
    "nonMasqueradeSourceCIDRs, which beat masqueradeCIDRs and sourceCIDRs",
    policy(
      {
        keep: ["10.0.0.0/8"],
        masquerade: ["10.96.0.0/12"],
        sources: ["10.244.0.0/16", "fd00::/8"],
        spared: ["10.244.9.0/24", "fd00:10:244:9::/64"],
      },
      BOTH,
    ),
    {
      node: "203.0.113.7 10.96.0.1 2001:db8:1::7",
      fromOther: { pod: "203.0.113.7 10.96.0.1 2001:db8:1::7" },
    },
  ],
  [
    "outputInterfaces, a name: eth0 leads inside, eth1 outside",
    policy({ keep: [], interfaces: ["eth1"] }, BOTH),
    { pod: "10.1.2.3 fd00::7", node: "203.0.113.7 2001:db8:1::7" },
  ],
  [
    "outputInterfaces, several names, one with a star",
    policy({ keep: [], interfaces: ["cali*", "eth0"] }, BOTH),
    { pod: "203.0.113.7 2001:db8:1::7", node: "10.1.2.3 fd00::7" },
  ],
  [
    "outputInterfaces, a name with a star",
    policy({ keep: [], interfaces: ["et*"] }, BOTH),
    { node: "10.1.2.3 203.0.113.7 fd00::7 2001:db8:1::7" },
  ],
  [
    "outputInterfaces, a complete name with a star, which matches the name too",
    policy({ keep: [], interfaces: ["eth1*"] }),
    { pod: "10.1.2.3", node: "203.0.113.7" },
  ],
  [
    "outputInterfaces, names of no interface: the start of a name does not match",
    policy({ keep: [], interfaces: ["eth", "eth10", "eth10*"] }),
    { pod: "10.1.2.3 203.0.113.7" },
  ],
  [
    "outputInterfaces negated: any but these",
    policy({ keep: [], interfaces: ["!eth0", "!cali*"] }, BOTH),
    { pod: "10.1.2.3 fd00::7", node: "203.0.113.7 2001:db8:1::7" },
  ],
  [
    "outputInterfaces negated, a name with a star, and sources",
    policy({ keep: [], interfaces: ["!eth1*"], sources: ["10.244.9.0/24", "fd00::/8"] }, BOTH),
    { pod: "10.1.2.3 203.0.113.7 2001:db8:1::7", node: "fd00::7", fromOther: { node: "10.1.2.3" } },
  ],
  [
    "nonMasqueradeMarks, which beat masqueradeCIDRs; no packet here has one",
    policy(
      { keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"], marks: ["0x200/0x200", "0x80000000/0x80000000"] },
      BOTH,
    ),
    { pod: "10.1.2.3", node: "203.0.113.7 10.96.0.1 2001:db8:1::7" },
  ],
  [
    "all keys, with few ports",
    policy(
      {
        keep: ["203.0.113.0/24", "10.0.0.0/8"],
        masquerade: ["203.0.113.7/32", "10.96.0.0/12"],
        sources: ["10.244.9.0/24"],
        interfaces: ["eth1"],
        snat: ["172.16.0.0/12", "10.0.0.0/16"],
        own: ["10.0.0.2"],
        dropLeaks: true,
      },
      { toPorts: [{ first: 1024, last: 29_999 }], randomFully: false },
    ),
    { pod: "203.0.113.7", fromOther: { pod: "203.0.113.8 10.96.0.1", node: "203.0.113.7 8.8.8.8" } },
  ],
  [
    "several ranges of ports",
    policy(
      { keep: ["10.0.0.0/8", "fd00::/8"], masquerade: ["10.96.0.0/12"] },
      {
        ...BOTH,
        toPorts: [
          { first: 1024, last: 9999 },
          { first: 20_000, last: 29_999 },
          { first: 32_768, last: 65_535 },
        ],
      },
    ),
    { pod: "10.1.2.3 fd00::7", node: "10.96.0.1 203.0.113.7 2001:db8:1::7" },
  ],
];

/** The policies, with the expected sources of connections. */
export const EXPECTATIONS: readonly (readonly [name: string, Policy, readonly Expectation[]])[] = ROWS.map(
  ([name, policy, { fromOther = {}, ...usual }]) => [
    name,
    policy,
    [...expected(usual), ...expected(fromOther, true)],
  ],
);

function expected(owners: Owners, fromOther = false): Expectation[] {
  return (["pod", "node"] as const).flatMap(owner => {
    const destinations = (owners[owner] ?? "").split(" ").filter(Boolean);
    return destinations.map(to => (fromOther ? [to, owner, to.includes(":") ? OTHER6 : OTHER] : [to, owner]));
  });
}

/** The owner of the source address that a server sees: one value, or if they differ, one for each of PROTOCOLS. */
export async function ownerSeen(lab: Lab, to: string, from?: string): Promise<string> {
  const seen = await Promise.all(
    PROTOCOLS.map(protocol => lab.connect({ protocol, to, ...(from ? { from } : {}) })),
  );
  const all = seen.map(({ source }) => lab.owner(source));
  return [...new Set(all)].length === 1 ? `${all[0]}` : all.join(", ");
}
