import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type Address, type AddressValue, Cidr, FAMILIES } from "../../src/net/cidr.ts";
import { cidrsBetween, intersection } from "../../src/net/ranges.ts";
import type { Condition } from "../../src/net/trace.ts";
import { decide } from "../../src/policy/decision.ts";
import type { Policy } from "../../src/policy/policy.ts";
import type { Hook } from "../../src/proof/kernel-diagram.ts";
import { type Finding, type Proof, prove } from "../../src/proof/prove.ts";
import { DIMENSIONS, type Dimension } from "../../src/proof/space.ts";
import { boundaries, policyArguments } from "../arbitraries.ts";
import { address, policy } from "../policies.ts";
import { ROUNDS } from "../rounds.ts";
import { ARRANGEMENTS, nat } from "./hooks.ts";

setDefaultTimeout(60_000 * ROUNDS);

const NODE = { local: ["127.0.0.0/8", "198.51.100.1/32", "::1/128"].map(Cidr.literal), broadcast: [] };
const OUTS = ["eth0", "eth1", "cali0"];
/** Names every interface and protocol, so that each has its own class. */
const NAMES = ["eth0", "eth1", "cali0"].map(name => `-A POSTROUTING -o ${name} -j LOG`).join("\n");

const SOURCES = ["10.244.1.2", "10.244.8.0", "192.0.2.9", "fd00:10:244:1::2", "2001:db8::5"].map(address);

const random = policyArguments({
  sources: SOURCES.map(({ text }) => text),
  interfaces: fc.constantFrom("eth0", "eth1", "eth*", "e*", "cali0", "wg*"),
});

/** A foreign rule, as a line of iptables-save, of IPv4. */
const foreign = fc
  .record(
    {
      source: fc.constantFrom("-s 10.244.0.0/16", "! -s 10.244.1.0/24", "-s 10.244.1.2/32"),
      destination: fc.constantFrom(
        "-d 10.0.0.0/8",
        "! -d 224.0.0.0/4",
        "-d 203.0.113.7/32",
        "-d 128.0.0.0/1",
      ),
      out: fc.constantFrom("-o eth0", "! -o cali0", "-o eth+"),
      transport: fc.constantFrom("-p tcp", "-p udp -m udp --dport 53", "! -p icmp"),
      mark: fc.constantFrom("-m mark --mark 0x4000/0x4000", "-m mark ! --mark 0x2000/0x6000"),
    },
    { requiredKeys: [] },
  )
  .chain(parts =>
    fc
      .constantFrom("MASQUERADE", "RETURN", "ACCEPT", "NETMAP --to 0.0.0.0/0", "FOREIGN")
      .map(target => ["-A POSTROUTING", ...Object.values(parts), "-j", target].join(" ")),
  );
const foreignRules = fc
  .array(foreign, { maxLength: 4 })
  .map(lines =>
    [
      NAMES,
      ...lines,
      "-A FOREIGN -d 10.1.0.0/16 -j RETURN",
      "-A FOREIGN -s 10.244.0.0/17 -j MASQUERADE",
    ].join("\n"),
  );

interface Sample {
  readonly destination: Address;
  readonly source: Address;
  readonly out: string;
}

describe.each(ARRANGEMENTS)("$name", ({ hooks, own }) => {
  test("rules of every policy are proven", () => {
    const property = fc.property(random, ({ short, flags }) => {
      const meant = policy(short, flags);
      for (const family of FAMILIES) {
        const proof = prove(meant, family, hooks(meant, family, "", ""), own(meant, family), NODE);
        expect(proof).toMatchObject({ differing: 0, unproven: 0, findings: [], leftToOthers: [] });
      }
    });
    fc.assert(property, { numRuns: 100 * ROUNDS });
  });

  test("with foreign rules before and after ours, exactly the packets that differ are found", () => {
    let differing = 0;
    const property = fc.property(random, foreignRules, foreignRules, ({ short, flags }, before, after) => {
      const meant = policy(short, flags);
      const all = hooks(meant, "ip", before, after);
      const proof = prove(meant, "ip", all, own(meant, "ip"), NODE);
      expect(proof.unproven).toBe(0);
      const wrong = samples(meant).filter(sample => {
        const differs = traced(all, sample) !== sourceOf(meant, sample) && !isLeftAlone(meant, sample);
        if (differs) differing++;
        return found(proof, sample) !== differs;
      });
      expect(wrong).toEqual([]);
    });
    fc.assert(property, { numRuns: 30 * ROUNDS });
    expect(differing).toBeGreaterThan(0);
  });

  test("an element that is added or removed is found, with the rule that decides", () => {
    const property = fc.property(random, random, (one, other) => {
      const meant = policy(one.short, one.flags);
      const actual = policy(other.short, { ...other.flags, masqChain: meant.chain });
      const all = hooks(actual, "ip", NAMES, "");
      const proof = prove(meant, "ip", all, own(actual, "ip"), NODE);
      const wrong = [...samples(meant), ...samples(actual)].filter(
        it => found(proof, it) !== (sourceOf(meant, it) !== sourceOf(actual, it)),
      );
      expect(wrong).toEqual([]);
    });
    fc.assert(property, { numRuns: 30 * ROUNDS });
  });
});

/** The source that the server sees: the Pod, the node, or an address of `snatAddresses`. None of these is in NODE. */
function sourceOf(policy: Policy, sample: Sample): string {
  if (decide(policy, sample).verdict === "keep") return "pod";
  return policy.families[0]?.snat?.chosen?.address.text ?? "node";
}

function samples({ families }: Policy): Sample[] {
  const lists = families
    .filter(({ family }) => family === "ip")
    .flatMap(({ nonMasquerade, masquerade }) => [...nonMasquerade.effective, ...masquerade.effective]);
  const sources = families
    .filter(({ family }) => family === "ip")
    .flatMap(({ sources, nonMasqueradeSources }) => [
      ...(sources?.effective ?? []),
      ...nonMasqueradeSources.effective,
    ]);
  const far = ["8.8.8.8", "203.0.113.7", "10.1.2.3", "10.9.9.9", "224.0.0.1", "127.0.0.1"].map(address);
  const to = [...lists.flatMap(({ cidr }) => boundaries(cidr)), ...far];
  const from = [
    ...sources.flatMap(({ cidr }) => boundaries(cidr)).slice(0, 12),
    ...SOURCES.filter(it => it.family === "ip"),
  ];
  return to
    .flatMap(destination => from.flatMap(source => OUTS.map(out => ({ destination, source, out }))))
    .filter(({ destination }) => !NODE.local.some(it => it.contains(destination)));
}

/** Whether only our own rules must follow the policy. */
function isLeftAlone(policy: Policy, sample: Sample): boolean {
  return isLeftToOthers(sample) || ["source", "output-interface"].includes(decide(policy, sample).rule);
}

function isLeftToOthers({ destination }: Sample): boolean {
  return ["224.0.0.0/4", "255.255.255.255/32", "0.0.0.0/32"].some(it =>
    Cidr.literal(it).contains(destination),
  );
}

/** Whether a finding has a packet of TCP to port 80 without a mark. */
function found({ findings, space }: Proof<Hook>, { destination, source, out }: Sample): boolean {
  const classes = space.interfaces.matching([out]);
  const packet: readonly AddressValue[] = [
    destination.value,
    source.value,
    classes[0]?.[0] ?? -1,
    6 * 65_536 + 80,
    0,
    0,
  ];
  const holds = ({ packets }: Finding<Hook>) =>
    DIMENSIONS.every((it, i) => {
      const value = packet[i] ?? 0;
      const ranges = packets.get(it);
      return !ranges || intersection(ranges, [[value, value]]).length > 0;
    });
  return findings.some(holds);
}

/** The source that the kernel gives a packet of TCP to port 80, rule by rule. Knows only the rules of this file. */
function traced(hooks: readonly Hook[], sample: Sample): string {
  for (const { base, chains } of hooks.toSorted((a, b) => a.priority - b.priority)) {
    const walk = (chain: string): string | undefined => {
      for (const { conditions, action } of chains.get(chain) ?? []) {
        if (!conditions.every(it => holds(it, sample))) continue;
        if (action.does === "masquerade") return "node";
        if (action.does === "snat") return action.address;
        if (action.does === "bind") return "pod";
        if (action.does === "accept") return "pass";
        if (action.does === "return") return undefined;
        if (!("to" in action)) continue;
        const inner = walk(action.to);
        if (inner || action.does === "goto") return inner;
      }
      return undefined;
    };
    const verdict = walk(base);
    if (verdict !== undefined && verdict !== "pass") return verdict;
  }
  return "pod";
}

function holds(it: Condition, { destination, source, out }: Sample): boolean {
  switch (it.on) {
    case "destination":
      return it.cidrs.some(cidr => cidr.contains(destination)) !== it.not;
    case "source":
      return it.cidrs.some(cidr => cidr.contains(source)) !== it.not;
    case "out":
      return (
        it.names.some(name => (name.endsWith("*") ? out.startsWith(name.slice(0, -1)) : out === name)) !==
        it.not
      );
    case "protocol":
      return it.names.includes("tcp") !== it.not;
    case "port":
      return it.ports.some(({ first, last }) => first <= 80 && 80 <= last) !== it.not;
    case "mark":
      return (it.value === 0) !== it.not;
    case "unicast": {
      const isUnicast = !isLeftToOthers({ destination, source, out });
      return isUnicast !== it.not;
    }
    case "multicast":
      return Cidr.literal("224.0.0.0/4").contains(destination) !== it.not;
    case "broadcast":
      return ["255.255.255.255", "0.0.0.0"].includes(destination.text) !== it.not;
    case "local":
    case "ipsec":
      return it.not;
    case "chance":
      return true;
    default:
      throw new TypeError(`unexpected condition ${it.on}`);
  }
}

describe("rules that are not understood", () => {
  const meant = policy({ keep: ["10.0.0.0/8"] });
  const proofOf = (lines: string): Proof<Hook> => {
    const own = ARRANGEMENTS[0]?.own(meant, "ip") ?? [];
    return prove(meant, "ip", [nat(lines), ...own], own, NODE);
  };

  test.each<[string, string, number]>([
    ["may change the verdict", "-A POSTROUTING -m set --match-set pods src -j MASQUERADE", 1],
    [
      "a translation to one of several addresses",
      "-A POSTROUTING -d 203.0.113.0/24 -j SNAT --to-source 192.0.2.1-192.0.2.9",
      1,
    ],
    [
      "a random rule may change the verdict",
      "-A POSTROUTING -m statistic --mode random --probability 0.5 -j MASQUERADE",
      1,
    ],
    ["a chain that was not read", "-A POSTROUTING -j UNREAD", 1],
    ["a header module without an option", "-A POSTROUTING -p ah -m ah -j MASQUERADE", 1],
    [
      "a mark that a rule before it changed",
      "-A POSTROUTING -j MARK --set-xmark 0x1/0x1\n-A POSTROUTING -m mark --mark 0x1/0x1 -j MASQUERADE",
      1,
    ],
    ["cannot change the verdict", "-A POSTROUTING -m set --match-set pods src -j RETURN", 0],
    ["only log", "-A POSTROUTING -m set --match-set pods src -j LOG", 0],
    [
      "lead to a chain without effect",
      "-A POSTROUTING -m set --match-set pods src -j IDLE\n-A IDLE -j RETURN",
      0,
    ],
  ])("%s: %s", (_, lines, least) => {
    const proof = proofOf(lines);
    expect(proof.differing).toBe(0);
    expect(Math.min(proof.unproven, 1)).toBe(least);
    if (least > 0)
      expect(
        proof.findings.flatMap(it => [...it.doubts.map(({ rule }) => rule.text), it.by?.rule.text]),
      ).toContain(lines.split("\n").at(-1));
  });

  test("kube-proxy's rules concern only packets that it marks", () => {
    const proof = proofOf(`
      -A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
      -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
      -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
      -A KUBE-POSTROUTING -j MASQUERADE --random-fully`);
    expect(proof).toMatchObject({ differing: 0, unproven: 0 });
    expect(proof.leftToOthers.map(({ by }) => by?.rule.text)).toContain(
      "-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
    );
    expect(proof.space.marks.names(proof.leftToOthers[0]?.packets.get("mark") ?? [])).toEqual([
      "0x4000/0x4000",
    ]);
  });
});

test("sources and interfaces that are not selected are left to others", () => {
  const meant = policy({
    keep: ["10.0.0.0/8"],
    sources: ["10.244.0.0/16"],
    spared: ["172.17.9.0/24"],
    interfaces: ["eth0"],
  });
  const own = ARRANGEMENTS[0]?.own(meant, "ip") ?? [];
  const lines = ["-s 172.17.0.0/17", "-s 10.244.0.0/16 -o eth1"].map(
    it => `-A POSTROUTING ${it} -d 203.0.113.0/24 -j MASQUERADE`,
  );
  const { findings, leftToOthers } = prove(meant, "ip", [nat(lines.join("\n")), ...own], own, NODE, false);
  const [spared, ...others] = findings;
  expect(others).toEqual([]);
  expect(spared?.packets.get("source")).toEqual([
    [address("172.17.9.0").value, address("172.17.9.255").value],
  ]);
  expect(new Set(leftToOthers.map(({ by }) => by?.rule.text))).toEqual(new Set(lines));
  expect(leftToOthers.map(({ unselected }) => unselected)).not.toContain(false);
});

test.each(ARRANGEMENTS)("IPv6: $name", ({ hooks, own }) => {
  const meant = policy({ keep: ["fd00::/8"] }, { enableIPv6: true });
  const foreign = "-A POSTROUTING -s fd00:10:244::/48 ! -d ff00::/8 -j MASQUERADE";
  const proof = prove(meant, "ip6", hooks(meant, "ip6", foreign, ""), own(meant, "ip6"), NODE);
  expect(proof.unproven).toBe(0);
  const [finding, ...others] = proof.findings;
  expect(others).toEqual([]);
  expect(finding).toMatchObject({ desired: "keep", got: "masquerade" });
  expect(finding?.by?.rule.text).toBe(foreign);
  const blocks = (on: Dimension) =>
    (finding?.packets.get(on) ?? [])
      .flatMap(([first, last]) => cidrsBetween("ip6", first, last))
      .map(it => it.text);
  expect(blocks("source")).toEqual(["fd00:10:244::/48"]);
  expect(blocks("destination")).toEqual(["fd00::/8", "fe80::/10"]);
});

test("10,000 CIDRs beside 10,000 foreign rules that look at sources and destinations", () => {
  const block = (i: number, first: number) => `${first}.${i >> 8}.${i & 255}.0/24`;
  const meant = policy({ keep: Array.from({ length: 10_000 }, (_, i) => block(2 * i, 20)) });
  const lines = Array.from({ length: 10_000 }, (_, i) => [
    `-A POSTROUTING -s 10.244.${i >> 8}.${i & 255}/32 -d ${block(i, 100)} -j MASQUERADE`,
  ]);
  const own = ARRANGEMENTS[0]?.own(meant, "ip") ?? [];
  const proof = prove(meant, "ip", [nat(lines.join("\n")), ...own], own, NODE);
  expect(proof).toMatchObject({ differing: 0, unproven: 0 });
  expect(proof.pieces).toBeGreaterThan(20_000);
});
