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

/** Policies of every kind, with the expected sources of connections. */
export const EXPECTATIONS: readonly (readonly [name: string, Policy, readonly Expectation[]])[] = [
  [
    "the defaults",
    policy(),
    [
      ["9.255.255.255", "node"],
      ["10.0.0.0", "pod"],
      ["10.255.255.255", "pod"],
      ["11.0.0.0", "node"],
      ["100.64.0.1", "node"],
      ["169.253.255.255", "node"],
      ["169.254.0.0", "pod"],
      ["169.254.255.255", "pod"],
      ["169.255.0.0", "node"],
      ["172.15.255.255", "node"],
      ["172.16.0.0", "pod"],
      ["172.31.255.255", "pod"],
      ["172.32.0.0", "node"],
      ["192.167.255.255", "node"],
      ["192.168.0.0", "pod"],
      ["192.168.255.255", "pod"],
      ["192.169.0.0", "node"],
      ["203.0.113.7", "node"],
      ["255.255.255.254", "node"],
      ["fd00::7", "pod"],
      ["2001:db8:1::7", "pod"],
    ],
  ],
  [
    "the defaults with IPv6, which keep only its link-local addresses",
    policy({}, BOTH),
    [
      ["10.1.2.3", "pod"],
      ["203.0.113.7", "node"],
      ["fd00::7", "node"],
      ["2001:db8:1::7", "node"],
    ],
  ],
  [
    "masqLinkLocal",
    policy({ masqLinkLocal: true }),
    [
      ["10.1.2.3", "pod"],
      ["169.254.0.0", "node"],
      ["169.254.169.254", "node"],
    ],
  ],
  [
    "--nomasq-all-reserved-ranges",
    policy({}, { nomasqAllReservedRanges: true }),
    [
      ["10.1.2.3", "pod"],
      ["100.64.0.0", "pod"],
      ["100.127.255.255", "pod"],
      ["100.128.0.0", "node"],
      ["192.0.0.1", "pod"],
      ["192.0.1.0", "node"],
      ["192.0.2.1", "pod"],
      ["192.88.99.1", "pod"],
      ["198.17.255.255", "node"],
      ["198.18.0.0", "pod"],
      ["198.51.100.7", "pod"],
      ["203.0.113.7", "pod"],
      ["223.255.255.255", "node"],
      ["240.0.0.0", "pod"],
    ],
  ],
  [
    "nonMasqueradeCIDRs",
    policy({ keep: ["203.0.113.0/24", "192.0.2.1/32", "2001:db8:1::/48"] }, BOTH),
    [
      ["10.1.2.3", "node"],
      ["169.254.10.10", "pod"],
      ["192.0.2.0", "node"],
      ["192.0.2.1", "pod"],
      ["192.0.2.2", "node"],
      ["203.0.113.0", "pod"],
      ["203.0.113.255", "pod"],
      ["203.0.114.0", "node"],
      ["2001:db8:0:ffff:ffff:ffff:ffff:ffff", "node"],
      ["2001:db8:1::", "pod"],
      ["2001:db8:1:ffff:ffff:ffff:ffff:ffff", "pod"],
      ["2001:db8:2::", "node"],
    ],
  ],
  [
    "nonMasqueradeCIDRs that are nested and adjacent",
    policy({ keep: ["10.1.0.0/16", "10.0.0.0/8", "203.0.113.0/25", "203.0.113.128/25", "203.0.113.7/32"] }),
    [
      ["10.1.2.3", "pod"],
      ["10.2.2.3", "pod"],
      ["203.0.112.255", "node"],
      ["203.0.113.7", "pod"],
      ["203.0.113.127", "pod"],
      ["203.0.113.128", "pod"],
      ["203.0.114.0", "node"],
    ],
  ],
  [
    "nonMasqueradeCIDRs that contain everything",
    policy({ keep: ["0.0.0.0/0", "::/0"] }, BOTH),
    [
      ["0.0.0.1", "pod"],
      ["10.1.2.3", "pod"],
      ["255.255.255.254", "pod"],
      ["::2", "pod"],
      ["feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "pod"],
    ],
  ],
  [
    "nonMasqueradeCIDRs empty: everything but link-local",
    policy({ keep: [] }, BOTH),
    [
      ["10.1.2.3", "node"],
      ["169.254.10.10", "pod"],
      ["172.16.1.2", "node"],
      ["192.168.1.2", "node"],
      ["203.0.113.7", "node"],
      ["fd00::7", "node"],
    ],
  ],
  [
    "nonMasqueradeCIDRs empty and masqLinkLocal: everything",
    policy({ keep: [], masqLinkLocal: true, masqLinkLocalIPv6: true }, BOTH),
    [
      ["0.0.0.1", "node"],
      ["10.1.2.3", "node"],
      ["169.254.10.10", "node"],
      ["255.255.255.254", "node"],
      ["::2", "node"],
      ["fd00::7", "node"],
      ["feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "node"],
    ],
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
    [
      ["10.95.255.255", "pod"],
      ["10.96.0.0", "node"],
      ["10.97.1.2", "node"],
      ["10.111.255.255", "node"],
      ["10.112.0.0", "pod"],
      ["169.254.169.253", "pod"],
      ["169.254.169.254", "node"],
      ["203.0.113.7", "node"],
      ["fd00:95::7", "pod"],
      ["fd00:96::7", "node"],
      ["2001:db8:1::7", "node"],
    ],
  ],
  [
    "sourceCIDRs",
    policy({ keep: ["10.0.0.0/8"], sources: ["10.244.9.0/24", "fd00:10:244:9::/64"] }, BOTH),
    [
      ["203.0.113.7", "pod"],
      ["203.0.113.7", "node", OTHER],
      ["10.1.2.3", "pod", OTHER],
      ["2001:db8:1::7", "pod"],
      ["2001:db8:1::7", "node", OTHER6],
    ],
  ],
  [
    "sourceCIDRs, which beat masqueradeCIDRs",
    policy({ masquerade: ["10.96.0.0/12"], sources: ["10.244.9.9/32"] }),
    [
      ["10.96.0.1", "pod"],
      ["10.96.0.1", "node", OTHER],
    ],
  ],
  [
    "sourceCIDRs of only IPv6: no IPv4",
    policy({ sources: ["fd00::/8"] }, BOTH),
    [
      ["203.0.113.7", "pod"],
      ["2001:db8:1::7", "node"],
    ],
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
    [
      ["203.0.113.7", "node"],
      ["10.96.0.1", "node"],
      ["203.0.113.7", "pod", OTHER],
      ["10.96.0.1", "pod", OTHER],
      ["2001:db8:1::7", "node"],
      ["2001:db8:1::7", "pod", OTHER6],
    ],
  ],
  [
    "outputInterfaces, a name: eth0 leads inside, eth1 outside",
    policy({ keep: [], interfaces: ["eth1"] }, BOTH),
    [
      ["10.1.2.3", "pod"],
      ["203.0.113.7", "node"],
      ["fd00::7", "pod"],
      ["2001:db8:1::7", "node"],
    ],
  ],
  [
    "outputInterfaces, several names, one with a star",
    policy({ keep: [], interfaces: ["cali*", "eth0"] }, BOTH),
    [
      ["10.1.2.3", "node"],
      ["203.0.113.7", "pod"],
      ["fd00::7", "node"],
      ["2001:db8:1::7", "pod"],
    ],
  ],
  [
    "outputInterfaces, a name with a star",
    policy({ keep: [], interfaces: ["et*"] }, BOTH),
    [
      ["10.1.2.3", "node"],
      ["203.0.113.7", "node"],
      ["fd00::7", "node"],
      ["2001:db8:1::7", "node"],
    ],
  ],
  [
    "outputInterfaces, a complete name with a star, which matches the name too",
    policy({ keep: [], interfaces: ["eth1*"] }),
    [
      ["10.1.2.3", "pod"],
      ["203.0.113.7", "node"],
    ],
  ],
  [
    "outputInterfaces, names of no interface: the start of a name does not match",
    policy({ keep: [], interfaces: ["eth", "eth10", "eth10*"] }),
    [
      ["10.1.2.3", "pod"],
      ["203.0.113.7", "pod"],
    ],
  ],
  [
    "all keys, with few ports",
    policy(
      {
        keep: ["203.0.113.0/24", "10.0.0.0/8"],
        masquerade: ["203.0.113.7/32", "10.96.0.0/12"],
        sources: ["10.244.9.0/24"],
        interfaces: ["eth1"],
      },
      { toPorts: [{ first: 1024, last: 29_999 }], randomFully: false },
    ),
    [
      ["203.0.113.8", "pod", OTHER],
      ["203.0.113.7", "node", OTHER],
      ["8.8.8.8", "node", OTHER],
      ["203.0.113.7", "pod"],
      ["10.96.0.1", "pod", OTHER],
    ],
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
    [
      ["10.1.2.3", "pod"],
      ["10.96.0.1", "node"],
      ["203.0.113.7", "node"],
      ["fd00::7", "pod"],
      ["2001:db8:1::7", "node"],
    ],
  ],
];

/** The owner of the source address that a server sees: one value, or if they differ, one for each of PROTOCOLS. */
export async function ownerSeen(lab: Lab, to: string, from?: string): Promise<string> {
  const seen = await Promise.all(
    PROTOCOLS.map(protocol => lab.connect({ protocol, to, ...(from ? { from } : {}) })),
  );
  const all = seen.map(({ source }) => lab.owner(source));
  return [...new Set(all)].length === 1 ? `${all[0]}` : all.join(", ");
}
