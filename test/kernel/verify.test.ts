import { afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { BINARY } from "../../lab/agent.ts";
import { LINKS } from "../../lab/topology.ts";
import { sync } from "../../src/backends/sync.ts";
import { type KernelHook, overallOutcome, type Verification, verify } from "../../src/inspect/verify.ts";
import { type Address, Cidr } from "../../src/net/cidr.ts";
import { intersection } from "../../src/net/ranges.ts";
import { decide } from "../../src/policy/decision.ts";
import type { Policy } from "../../src/policy/policy.ts";
import type { Finding } from "../../src/proof/prove.ts";
import { DIMENSIONS, type Space } from "../../src/proof/space.ts";
import { policyArguments } from "../arbitraries.ts";
import { Folder } from "../config/folder.ts";
import { labPerFile } from "../lab.ts";
import { address, policy } from "../policies.ts";
import { ROUNDS } from "../rounds.ts";
import { describeBackends, programsOf } from "./backends-under-test.ts";
import { OTHER } from "./expectations.ts";

setDefaultTimeout(60_000 * ROUNDS);

const lab = labPerFile();
beforeAll(() => lab.addPodAddress(OTHER));
afterEach(() => lab.flushRules());

/** Foreign rules, as nft commands: before and after ours, and looking at sources, interfaces, protocols and marks. */
const before = (rule: string) =>
  `add table ip early; add chain ip early post { type nat hook postrouting priority 90; }; add rule ip early post ${rule}`;
const after = (rule: string) =>
  `add table inet late; add chain inet late post { type nat hook postrouting priority 110; }; add rule inet late post ${rule}`;
const FOREIGN: readonly string[] = [
  before("ip daddr 10.1.0.0/16 masquerade"),
  before("ip saddr 10.244.9.0/24 ip daddr != 224.0.0.0/4 masquerade"),
  before('oifname "eth0" masquerade'),
  before("ip daddr 203.0.113.0/24 snat to ip saddr"),
  before("meta l4proto tcp masquerade"),
  before("meta mark & 0x4000 == 0x4000 masquerade"),
  before("ip daddr 10.1.0.0/16 accept"),
  before("ip saddr . ip daddr { 10.244.1.2 . 10.1.2.3 } masquerade"),
  before("ip daddr 203.0.113.0/24 snat to 198.51.100.2"),
  after("ip daddr 10.1.0.0/16 masquerade"),
  after('ip saddr 10.244.9.0/24 oifname != "eth1" masquerade'),
  after("ip daddr 203.0.113.0/24 masquerade"),
  after('oifname vmap { "eth0" : return, "eth1" : accept }'),
];

const random = policyArguments({
  sources: ["10.244.1.2", OTHER],
  interfaces: fc.constantFrom("eth0", "eth1", "eth*", "e*", "cali0"),
});

/** Without ROUNDS, every fifth command of other programs is tried. */
const STEP = Math.max(1, 5 - ROUNDS);

describeBackends(({ open, tampering }) => {
  const meant = policy({ keep: ["10.0.0.0/8"] });
  const commands = [...tampering, ...FOREIGN.map(it => ["nft", it])];

  test("proves what is right, also with sources, interfaces and exceptions, for both families", async () => {
    const policies = [
      meant,
      policy(
        {
          keep: ["10.0.0.0/8", "fd00::/8"],
          masquerade: ["10.96.0.0/16"],
          sources: ["10.244.0.0/16", "fd00:10::/32"],
          spared: ["10.244.9.9/32"],
          interfaces: ["eth0", "wg*"],
        },
        {
          enableIPv6: true,
          toPorts: [
            { first: 1024, last: 2047 },
            { first: 4096, last: 65_535 },
          ],
        },
      ),
    ];
    for (const it of policies) {
      await sync(open(lab), it);
      const result = await verified(it);
      expect(result.unread).toEqual([]);
      expect(result.families.map(({ proof }) => proof.findings)).toEqual(it.families.map(() => []));
      expect(overallOutcome(result)).toBe("proven");
    }
  });

  test("proves that enforceNonMasquerade defeats a foreign rule", async () => {
    const foreign = after("ip daddr 10.1.0.0/16 masquerade");
    for (const enforce of [false, true]) {
      const it = policy({ keep: ["10.0.0.0/8"], enforce });
      await sync(open(lab), it);
      if (!enforce) await lab.node.output(["nft", foreign]);
      const result = await verified(it);
      expect([enforce, overallOutcome(result)]).toEqual([enforce, enforce ? "proven" : "differs"]);
      await agrees(it, result, foreign);
    }
  });

  test("with random policies and foreign rules, exactly the packets that differ are found", async () => {
    const backend = open(lab);
    const property = fc.asyncProperty(
      random,
      fc.constantFrom(...FOREIGN),
      async ({ short, flags }, foreign) => {
        const { snat: _snat, own: _own, ...rest } = short; // the node has none of these addresses
        const drawn = policy(rest, { ...flags, toPorts: undefined });
        await sync(backend, drawn);
        await lab.node.output(["nft", foreign]);
        await agrees(drawn, await verified(drawn), foreign);
        await lab.flushRules();
      },
    );
    await fc.assert(property, { numRuns: 3 * ROUNDS });
  });

  test("finds every difference that packets show, after changes by other programs", async () => {
    const backend = open(lab);
    for (const [i, argv] of commands.entries()) {
      if (i % STEP !== 0) continue;
      await sync(backend, meant);
      await lab.node.output(argv);
      await agrees(meant, await verified(meant), argv.join(" "));
      await lab.flushRules();
    }
  });
}, []);

test("the commands verify and test --live: results and exit codes", async () => {
  await using folder = await Folder.create({
    config: "nonMasqueradeCIDRs: [10.0.0.0/8]\n",
    tests: `config: config
tests: [{destination: 10.1.2.3, verdict: keep}, {destination: 203.0.113.7, verdict: masquerade}]\n`,
  });
  const config = `${folder.path}/config`;
  const tests = `${folder.path}/tests`;
  const results = async (): Promise<string[]> => {
    const all = [
      ["verify", `--config=${config}`],
      ["test", "--live", tests],
    ];
    const ended = await Promise.all(all.map(argv => lab.node.run([BINARY, ...argv])));
    return ended.map(({ exitCode, stdout }) => `${exitCode}: ${stdout.split("\n")[0]}`);
  };
  await lab.node.output([BINARY, "run", "--once", `--config=${config}`]);
  const all = "all 4,294,967,296 IPv4 destinations";
  expect(await results()).toEqual([
    expect.stringMatching(new RegExp(`^0: proven for ${all} \\(\\d+ pieces\\): 0 differ$`)),
    "0: 2 of 2 connections have the expected verdict",
  ]);
  await lab.node.output(["nft", "insert rule ip ip-masq-agent IP-MASQ-AGENT ip daddr 203.0.113.0/24 return"]);
  expect(await results()).toEqual([
    expect.stringMatching(new RegExp(`^1: DIFFERS from the policy, of ${all} \\(\\d+ pieces\\): 1 differ$`)),
    expect.stringContaining("expected masquerade, got keep: ip daddr 203.0.113.0/24 return"),
  ]);
  await lab.node.output([BINARY, "run", "--once", `--config=${config}`]);
  await lab.node.output(["nft", before("ip saddr . ip daddr { 10.244.1.2 . 10.1.2.3 } masquerade")]);
  expect((await results())[0]).toStartWith(`2: NOT PROVEN for ${all}`);
});

function verified(meant: Policy): Promise<Verification> {
  return verify(meant, async () => true, programsOf(lab));
}

const TO = ["10.1.2.3", "10.200.0.1", "203.0.113.7", "192.0.2.1"].map(address);
const FROM = ["10.244.1.2", OTHER].map(address);

/** The verdict on a packet differs from the policy's exactly if a finding contains them. */
async function agrees(meant: Policy, result: Verification, after: string): Promise<void> {
  const proof = result.families[0]?.proof;
  if (!proof) throw new Error("IPv4 was not verified");
  expect([after, result.unread.filter(it => !it.includes("dormant"))]).toEqual([after, []]);
  for (const destination of TO) {
    for (const source of FROM) {
      const { verdict } = decide(meant, { source, destination, out: outOf(destination) });
      const seen = await verdictOf(source, destination);
      if (seen === "dropped") return;
      const finding = [...proof.findings, ...proof.leftToOthers].find(it =>
        has(it, proof.space, source, destination),
      );
      const what = `${source.text} to ${destination.text} after ${after}`;
      if (finding?.got === "unknown" || finding?.got === "misdirect") continue;
      if (result.unread.length > 0 && finding === undefined) continue;
      expect([what, finding?.got ?? verdict]).toEqual([what, seen]);
    }
  }
}

/** Whether a finding contains the first packet of UDP from one address to the other. */
function has({ packets }: Finding<KernelHook>, space: Space, source: Address, destination: Address): boolean {
  const out = outOf(destination);
  const packet = [destination.value, source.value, classOf(out, space), 17 * 65_536, 0, 0];
  return DIMENSIONS.every((it, i) => {
    const value = packet[i] ?? 0;
    return intersection(packets.get(it) ?? space.every(it), [[value, value]]).length > 0;
  });
}

/** The class of a name: its own, that of the longest pattern, or that of all other names. */
function classOf(name: string, space: Space): number {
  const names = Array.from(name, (_, i) => `${name.slice(0, i)}*`);
  const found = [name, ...names.reverse()]
    .map(it => space.interfaces.placeOf(it))
    .find(it => it !== undefined);
  return found ?? 0;
}

function outOf(destination: Address): string {
  const isInside = LINKS.inside.routes.some(
    it => !it.includes(":") && Cidr.literal(it).contains(destination),
  );
  return isInside ? LINKS.inside.name : LINKS.outside.name;
}

async function verdictOf(source: Address, destination: Address): Promise<string> {
  try {
    const seen = await lab.connect({ protocol: "udp", from: source.text, to: destination.text });
    return seen.source === source.text ? "keep" : "masquerade";
  } catch {
    return "dropped";
  }
}
