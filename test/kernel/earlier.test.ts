import { afterEach, expect, test } from "bun:test";
import { sync } from "../../src/backends/sync.ts";
import { Totals } from "../../src/observe/totals.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { iptables, nftables } from "./backends-under-test.ts";

const desired = policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"], masqLinkLocal: true });

/** The rules that version 0.1.0 wrote for that policy. */
const NFTABLES = `
table ip ip-masq-agent {
  set masquerade-a { type ipv4_addr; flags interval; counter; elements = { 10.96.0.0/12 comment "/config:2" }; }
  set non-masquerade-a { type ipv4_addr; flags interval; counter; elements = { 10.0.0.0/8 comment "/config:2" }; }
  chain IP-MASQ-AGENT {
    ip daddr @masquerade-a goto outbound comment "ip-masq-agent: exceptions from cluster-local traffic"
    ip daddr @non-masquerade-a return comment "ip-masq-agent: cluster-local traffic"
    goto outbound comment "ip-masq-agent: outbound traffic"
  }
  chain outbound { counter masquerade fully-random comment "ip-masq-agent: outbound traffic"; }
  chain postrouting {
    type nat hook postrouting priority 101;
    fib daddr type != local jump IP-MASQ-AGENT comment "ip-masq-agent: non-local destinations go through IP-MASQ-AGENT"
  }
}`;
const IPTABLES = `*nat
:IP-MASQ-AGENT - [0:0]
:IP-MASQ-AGENT-OUT - [0:0]
-A IP-MASQ-AGENT -d 10.96.0.0/12 -m comment --comment "ip-masq-agent: exceptions from cluster-local traffic" -g IP-MASQ-AGENT-OUT
-A IP-MASQ-AGENT -d 10.0.0.0/8 -m comment --comment "ip-masq-agent: cluster-local traffic" -j RETURN
-A IP-MASQ-AGENT -m comment --comment "ip-masq-agent: outbound traffic" -g IP-MASQ-AGENT-OUT
-A IP-MASQ-AGENT-OUT -m comment --comment "ip-masq-agent: outbound traffic" -j MASQUERADE --random-fully
-A POSTROUTING -m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom IP-MASQ-AGENT chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT
COMMIT
`;

const lab = labPerFile();
afterEach(() => lab.node.output(["sh", "-c", "nft flush ruleset; iptables-legacy -t nat -F"]));

test.each([
  ["nftables", nftables(["nft"]), ["nft", "-f", "-"], NFTABLES],
  ["iptables-nft", iptables("iptables-nft"), ["iptables-nft-restore", "--noflush"], IPTABLES],
  ["iptables-legacy", iptables("iptables-legacy"), ["iptables-legacy-restore", "--noflush"], IPTABLES],
] as const)(
  "one write updates the rules of 0.1.0, and the counters by CIDR continue: %s",
  async (_name, { open }, argv, input) => {
    await lab.node.output(argv, { input });
    for (const to of ["10.1.2.3", "10.96.0.1", "203.0.113.7"]) await lab.connect({ protocol: "udp", to });
    const totals = new Totals();
    let writes = 0;
    const backend = open(lab);
    const { before, after } = await sync(backend, desired, {
      tally: {
        read: plan => totals.read(plan),
        wrote: (plan, counters) => {
          writes += 1;
          totals.wrote(plan, counters);
        },
        ended: (plan, counters) => totals.ended(plan, counters),
      },
    });
    expect({ inSync: before.inSync, writes, after: after.actual }).toEqual({
      inSync: false,
      writes: 1,
      after: [...after.desired],
    });
    for (const to of ["10.1.2.3", "10.96.0.1", "203.0.113.7"]) await lab.connect({ protocol: "udp", to });
    totals.read(await backend.plan(desired));
    const counted = totals.counters.map(it => [`${it.verdict} ${it.cidr ?? "rest"}`, it.connections]);
    // With nftables, 0.1.0 had no separate counter for all other connections.
    const rest = backend.name === "nftables" ? 1 : 2;
    expect(Object.fromEntries(counted)).toEqual({
      "masquerade 10.96.0.0/12": 2,
      "keep 10.0.0.0/8": 2,
      "masquerade rest": rest,
    });
  },
);
