import { afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { LINKS } from "../../lab/topology.ts";
import { MigratingBackend } from "../../src/backends/migrating-backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { explainLive } from "../../src/inspect/explain.ts";
import { type Address, Cidr } from "../../src/net/cidr.ts";
import type { Verdict } from "../../src/net/verdict.ts";
import { decide } from "../../src/policy/decision.ts";
import type { CidrList, FamilyPolicy, Policy } from "../../src/policy/policy.ts";
import {
  boundaries,
  interfaceName,
  MARKS_NEAR,
  type PolicyArguments,
  policyArguments,
} from "../arbitraries.ts";
import { labPerFile } from "../lab.ts";
import type { Outcome, Packet } from "../packet.ts";
import { address, policy } from "../policies.ts";
import { ROUNDS } from "../rounds.ts";
import { describeBackends } from "./backends-under-test.ts";

setDefaultTimeout(60_000 * ROUNDS);

/** More addresses of the Pod, on both sides of the ends of blocks of many lengths. */
const POD_ADDRESSES = [
  "10.244.1.2",
  "10.244.7.255",
  "10.244.8.0",
  "10.244.8.15",
  "10.244.8.16",
  "fd00:10:244:1::2",
  "fd00:10:244:7:ffff:ffff:ffff:ffff",
  "fd00:10:244:8::",
].map(address);

const random = policyArguments({
  sources: POD_ADDRESSES.map(({ text }) => text),
  interfaces: fc.constantFrom("eth0", "eth1", "eth", "eth*", "eth0*", "e*", "cali0"),
  own: Object.values(LINKS).flatMap(({ near }) => Object.values<string>(near)),
});

const lab = labPerFile();
beforeAll(async () => {
  for (const { text } of POD_ADDRESSES) if (lab.owner(text) === "other") await lab.addPodAddress(text);
});
afterEach(async () => {
  // This also removes rules that a backend cannot remove after a failure.
  await lab.node.output(["nft", "flush", "ruleset"]);
});

describeBackends(({ open, judge, renderings, snapshot, tampering }) => {
  describe("on both sides of every boundary", () => {
    test("policy and rendered rules agree", () => {
      const property = fc.property(random, ({ short, flags }) => {
        const meant = policy(short, flags);
        const rendered = judge(meant);
        const plain = ["eth0", "eth1"].flatMap(out => udp(destinations(meant), sources(meant), () => out));
        const odd = udp(destinations(meant), POD_ADDRESSES.slice(0, 1), () => "eth0");
        const packets = [
          ...plain,
          ...odd.map(packet => ({ ...packet, broadcast: true })),
          ...odd.map(packet => ({ ...packet, ipsec: true })),
          ...MARKS_NEAR.flatMap(mark => odd.map(packet => ({ ...packet, mark }))),
        ];
        const outcomes = packets.map(rendered);
        expect(disagreements(meant, packets, outcomes.map(verdictOf))).toEqual([]);
        expect(outcomes.map(it => it === "bound")).toEqual(packets.map(it => decide(meant, it).enforced));
      });
      fc.assert(property, { numRuns: 100 * ROUNDS });
    });

    test("policy, kernel, and the explanation of the kernel's rules agree", async () => {
      let connections = 0;
      const backend = open(lab);
      const property = fc.asyncProperty(random, async ({ short, flags }) => {
        const meant = policy(short, { ...flags, toPorts: undefined }); // few ports are soon exhausted
        await lab.node.output(["nft", "add table inet theirs; delete table inet theirs"]);
        await sync(backend, meant);
        await new MigratingBackend(backend, []).removeLeftovers(meant); // of a family that only the previous policy had
        await markPackets();
        const packets = udp(destinations(meant).filter(isAnswered), POD_ADDRESSES, wayTo).map(marked);
        const got = await Promise.all(packets.map(it => seen(it, meant)));
        expect(disagreements(meant, packets, got)).toEqual([]);
        const kernel = await backend.rules(meant.families.map(({ family }) => family));
        const explained = packets.map(packet => explainLive(meant, { ...packet, local: false }, kernel).live);
        expect(
          disagreements(
            meant,
            packets,
            explained.map(it => (it?.agrees ? it.verdict : "nothing")),
          ),
        ).toEqual([]);
        if (meant.enforceNonMasquerade) {
          await lab.node.output(["nft", MASQUERADE_ALL]);
          const sources = await Promise.all(packets.map(it => seen(it)));
          expect(sources.map(it => it === "keep")).toEqual(packets.map(it => decide(meant, it).enforced));
          connections += packets.length;
        }
        connections += packets.length;
      });
      await fc.assert(property, { numRuns: 20 * ROUNDS });
      expect(connections).toBeGreaterThan(800 * ROUNDS);
      await backend.remove();
    });

    test.each(tampering.map(argv => [argv.join(" "), argv] as const))(
      "kernel and explanation agree after %s",
      async (_command, argv) => {
        const backend = open(lab);
        const meant = policy({ keep: ["10.0.0.0/8"] });
        await sync(backend, meant);
        await lab.node.output(argv);
        const kernel = await backend.rules(["ip"]);
        for (const to of ["10.1.2.3", "203.0.113.7", "192.0.2.1"]) {
          const packet: Packet = {
            protocol: "udp",
            source: address("10.244.1.2"),
            destination: address(to),
            out: wayTo(address(to)),
          };
          const { live } = explainLive(meant, { ...packet, local: false }, kernel);
          if (live?.verdict === "unknown") continue;
          const got = await seen(packet).catch(() => "dropped"); // not by ipmasq's chains
          if (got === "dropped") break;
          expect(`${live?.verdict}`, to).toBe(got);
        }
      },
      10_000,
    );
  });

  describe("rules that are read equal the rules that were written", () => {
    const anything = policyArguments({ sources: [], interfaces: interfaceName() });

    test("by a sync, so that the next one writes nothing", async () => {
      const backend = open(lab);
      const property = fc.asyncProperty(anything, async ({ short, flags }) => {
        const meant = policy(short, flags);
        const { after } = await sync(backend, meant);
        expect(after.actual).toEqual([...after.desired]);
        const written = await snapshot(lab);
        expect((await sync(backend, meant)).before.inSync).toBe(true);
        expect(await snapshot(lab)).toBe(written);
      });
      const dotted: PolicyArguments = { short: { keep: ["::100:0/104"] }, flags: { enableIPv6: true } };
      await fc.assert(property, { numRuns: 10 * ROUNDS, examples: [[dotted]] });
      await backend.remove();
    });

    test.each(renderings)("by loading the output of render as $format", async ({ load }) => {
      const backend = open(lab);
      const property = fc.asyncProperty(anything, async ({ short, flags }) => {
        const meant = policy(short, flags);
        await backend.remove();
        await load(lab, meant);
        const { actual, desired } = await backend.plan(meant);
        expect(actual).toEqual([...desired]);
      });
      await fc.assert(property, { numRuns: 6 * ROUNDS });
      await backend.remove();
    });
  });
});

/** A foreign table that masquerades everything, before and after our own chain. */
const MASQUERADE_ALL = `
  add table inet theirs
  add chain inet theirs before { type nat hook postrouting priority 101; }
  add rule inet theirs before masquerade
  add chain inet theirs after { type nat hook postrouting priority 110; }
  add rule inet theirs after masquerade`;

function verdictOf(outcome: Outcome): Verdict {
  return outcome === "masquerade" ? "masquerade" : "keep";
}

/** The differences between the policy and `got`, in words. */
function disagreements(policy: Policy, packets: readonly Packet[], got: readonly string[]): string[] {
  return packets.flatMap((packet, i) => {
    const meant = decide(policy, packet);
    if (meant.verdict === got[i]) return [];
    const { source, destination, out, broadcast, ipsec, mark } = packet;
    return [
      `${source.text} to ${destination.text} by ${out}${broadcast ? ", broadcast" : ""}${ipsec ? ", IPsec" : ""}${mark ? `, mark ${mark}` : ""}: ${meant.verdict} (${meant.reason}), got ${got[i]}`,
    ];
  });
}

/** The verdict on a real packet. A masqueraded packet must have the address that the policy chooses, if it does. */
async function seen({ source, destination }: Packet, meant?: Policy): Promise<string> {
  const connection = { protocol: "udp", from: source.text, to: destination.text } as const;
  const { source: from } = await lab.connect(connection);
  if (from === source.text) return "keep";
  const snat = meant?.families.find(({ family }) => family === destination.family)?.snat;
  const address = snat?.chosen?.address.text ?? from;
  return lab.owner(from) === "node" && from === address ? "masquerade" : `source ${from}`;
}

const MULTICAST = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"].map(Cidr.literal).flatMap(boundaries);
const ALWAYS = [address("198.18.7.8"), address("2001:db8:7::8"), ...MULTICAST];

/** Destinations on both sides of the ends of the policy's CIDRs and of multicast, and far from all. */
function destinations({ families }: Policy): Address[] {
  const lists = families.flatMap(({ nonMasquerade, masquerade }) => [nonMasquerade, masquerade]);
  return unique([...lists.flatMap(ends), ...ALWAYS]);
}

/** The Pod's addresses, and sources on both sides of the ends of the policy's source CIDRs. */
function sources({ families }: Policy): Address[] {
  return unique([...POD_ADDRESSES, ...families.flatMap(sourceLists).flatMap(ends)]);
}

function sourceLists({ sources, nonMasqueradeSources }: FamilyPolicy): CidrList[] {
  return [nonMasqueradeSources, ...(sources ? [sources] : [])];
}

function ends({ effective, redundant }: CidrList): Address[] {
  return [...effective, ...redundant.map(({ item }) => item)].flatMap(({ cidr }) => boundaries(cidr));
}

/** A packet from each source to each destination of its family. */
function udp(
  destinations: readonly Address[],
  sources: readonly Address[],
  way: (to: Address) => string,
): Packet[] {
  return destinations.flatMap(destination =>
    sources
      .filter(({ family }) => family === destination.family)
      .map(source => ({ protocol: "udp", source, destination, out: way(destination) })),
  );
}

const INSIDE = LINKS.inside.routes.map(Cidr.literal);

/** The interface through which the lab's node sends packets to an address. */
function wayTo(destination: Address): string {
  return (INSIDE.some(cidr => cidr.contains(destination)) ? LINKS.inside : LINKS.outside).name;
}

/** The marks of packets from addresses of the Pod. A table of the node sets them. */
const MARKS: ReadonlyMap<string, number> = new Map([
  ["10.244.8.15", 0x4000],
  ["10.244.8.16", 0x210],
  ["fd00:10:244:8::", 0x8000_0001],
]);

function marked(packet: Packet): Packet {
  const mark = MARKS.get(packet.source.text);
  return mark === undefined ? packet : { ...packet, mark };
}

async function markPackets(): Promise<void> {
  const rules = MARKS.entries().map(([source, mark]) => {
    return `${source.includes(":") ? "ip6" : "ip"} saddr ${source} meta mark set ${mark}`;
  });
  const table = `table inet marks { chain c { type filter hook prerouting priority -150; ${[...rules].join("; ")}; }; }`;
  await lab.node.output(["nft", `add table inet marks; delete table inet marks; ${table}`]);
}

/** Destinations that Linux does not send to or forward: unspecified, loopback, multicast, broadcast, IPv6 link-local. */
const NOT_FORWARDED = [
  ...["0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32"],
  ...["::/127", "fe80::/10", "ff00::/8"],
].map(Cidr.literal);

/** Whether a server of the lab has an address. */
function isAnswered(destination: Address): boolean {
  return lab.owner(destination.text) === "other" && !NOT_FORWARDED.some(cidr => cidr.contains(destination));
}

function unique(addresses: readonly Address[]): Address[] {
  return [...new Map(addresses.map(it => [it.text, it])).values()];
}
