import { beforeAll, beforeEach, expect, test } from "bun:test";
import fc from "fast-check";
import { LINKS } from "../../lab/topology.ts";
import type { Backend, Counter } from "../../src/backends/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { type Address, Cidr } from "../../src/net/cidr.ts";
import { Totals } from "../../src/observe/totals.ts";
import { type Decision, decide } from "../../src/policy/decision.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { labPerFile } from "../lab.ts";
import { address, policy, type Short } from "../policies.ts";
import { describeBackends, nftables } from "./backends-under-test.ts";

const SOURCES = ["10.244.1.2", "10.244.9.9", "fd00:10:244:1::2"].map(address);
const DESTINATIONS = ["10.1.2.3", "10.96.0.1", "172.16.3.4", "203.0.113.7", "fd00:9::1", "2001:db8:1::7"].map(
  address,
);

const lab = labPerFile();
beforeAll(() => lab.addPodAddress("10.244.9.9"));
beforeEach(() => lab.flushRules());

/** Policies for every shape of ruleset, with CIDRs around the destinations. */
const shapes = fc.record(
  {
    keep: fc.subarray(["10.0.0.0/8", "10.1.0.0/16", "172.16.0.0/12", "fd00::/8", "203.0.113.0/24"]),
    masquerade: fc.subarray(["10.96.0.0/12", "10.1.2.0/24", "fd00:9::/32"]),
    sources: fc.subarray(["10.244.1.0/24", "10.244.9.0/24", "fd00:10::/32"], { minLength: 1 }),
    interfaces: fc.subarray(["eth0", "eth*"], { minLength: 1 }),
  },
  { requiredKeys: [] },
);
const flags = fc.record(
  {
    enableIPv6: fc.boolean(),
    randomFully: fc.boolean(),
    toPorts: fc.constantFrom(
      [{ first: 1024, last: 65_535 }],
      [
        { first: 1024, last: 20_000 },
        { first: 30_000, last: 65_535 },
      ],
    ),
  },
  { requiredKeys: [] },
);
/** A step: connections between some sources and destinations, then a policy change or a flush by another program. */
const rounds = fc.array(
  fc.record({
    short: shapes,
    flags,
    made: fc.array(fc.tuple(fc.nat(99), fc.nat(99)), { minLength: 2, maxLength: 8 }),
    flush: fc.boolean(),
  }),
  { minLength: 3, maxLength: 5 },
);

describeBackends(({ open }) => {
  test("each connection is counted once, by the CIDR that decided, across all policy changes", async () => {
    let connections = 0;
    const property = fc.asyncProperty(rounds, async rounds => {
      await lab.flushRules();
      const backend = open(lab);
      const tally = new Expected();
      for (const [i, round] of rounds.entries()) {
        const meant = policy(round.short, round.flags);
        await tally.sync(backend, meant);
        for (const [from, to] of round.made) connections += await tally.connect(from, to);
        await tally.check(backend, `after the connections of round ${i}`);
        if (!round.flush) continue;
        await lab.flushRules();
        await tally.check(backend, `after a flush in round ${i}`);
      }
      await backend.remove();
    });
    await fc.assert(property, { numRuns: 6 });
    expect(connections).toBeGreaterThan(5);
  }, 60_000);

  test("under load no counter goes backwards or exceeds the number of connections", async () => {
    const backend = open(lab);
    const totals = new Totals();
    const variants: Short[] = [
      { keep: ["10.0.0.0/8"] },
      { keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"] },
      { keep: ["10.0.0.0/8", "192.0.2.0/24"], masquerade: ["10.96.0.0/12"], sources: ["10.244.0.0/16"] },
    ];
    await sync(backend, policy(variants[0]), { tally: totals });
    const load = await lab.load({
      destinations: ["10.1.2.3", "10.96.0.1", "203.0.113.7"],
      flowsPerSecond: 3000,
    });
    let before = { keep: 0, masquerade: 0 };
    for (let i = 1; i <= 12; i++) {
      const meant = policy(variants[i % variants.length], { randomFully: i % 2 === 0 });
      await sync(backend, meant, { tally: totals });
      totals.keep(meant);
      totals.read(await backend.plan(meant));
      const { keep, masquerade } = totals.byVerdict;
      expect(keep.connections).toBeGreaterThanOrEqual(before.keep);
      expect(masquerade.connections).toBeGreaterThanOrEqual(before.masquerade);
      before = { keep: keep.connections, masquerade: masquerade.connections };
    }
    const tallies = await load.stop();
    totals.read(await backend.plan(policy(variants[0], { randomFully: true })));
    const { keep, masquerade } = totals.byVerdict;
    const kept = tallies.reduce((sum, { fromPod }) => sum + fromPod, 0);
    const masqueraded = tallies.reduce((sum, { fromNode }) => sum + fromNode, 0);
    expect(keep.connections).toBeWithin(kept * 0.5, kept + 1);
    expect(masquerade.connections).toBeWithin(masqueraded * 0.5, masqueraded + 1);
    await backend.remove();
  }, 20_000);
}, []);

test("a program that loads an old copy of the table with its counters makes no connection count twice", async () => {
  const backend = nftables(["nft"]).open(lab);
  const tally = new Expected();
  await tally.sync(backend, policy({ keep: ["10.0.0.0/8"] }));
  for (let i = 0; i < 5; i++) await tally.connect(0, 0);
  const copy = await lab.node.output(["nft", "list", "ruleset"]);
  await tally.sync(backend, policy({ keep: ["10.0.0.0/8", "192.0.2.0/24"] })); // counters start from zero
  await tally.connect(0, 0);
  await tally.check(backend, "before the copy is loaded");
  await lab.node.output(["nft", "-f", "-"], { input: `flush ruleset\n${copy}` });
  await tally.check(backend, "after the copy was loaded");
  await tally.sync(backend, policy({ keep: ["10.0.0.0/8", "192.0.2.0/24"] }));
  await tally.connect(0, 0);
  await tally.check(backend, "after it was repaired");
});

/** The expected totals, from the connections and the policy's verdicts. */
class Expected {
  readonly totals = new Totals();
  #policy: Policy = policy();
  readonly #made = new Map<string, number>();
  readonly #byVerdict = { keep: 0, masquerade: 0 };

  async sync(backend: Backend, desired: Policy): Promise<void> {
    await sync(backend, desired, { tally: this.totals });
    this.totals.keep(desired);
    this.#policy = desired;
    const keys = new Set(desired.families.flatMap(keysOf));
    for (const key of this.#made.keys()) if (!keys.has(key)) this.#made.delete(key);
  }

  /** Makes a connection, and returns the number of counters that must count it. */
  async connect(from: number, to: number): Promise<number> {
    const destination = DESTINATIONS[to % DESTINATIONS.length];
    const sources = SOURCES.filter(({ family }) => family === destination?.family);
    const source = sources[from % sources.length];
    if (!source || !destination) throw new TypeError("nothing to connect");
    await lab.connect({ protocol: "udp", from: source.text, to: destination.text });
    const said = decide(this.#policy, { source, destination, out: wayTo(destination) });
    const key = keyOf(this.#policy, said, destination);
    if (key === undefined) return 0;
    this.#made.set(key, (this.#made.get(key) ?? 0) + 1);
    this.#byVerdict[said.verdict] += 1;
    return 1;
  }

  async check(backend: Backend, when: string): Promise<void> {
    this.totals.read(await backend.plan(this.#policy));
    const { keep, masquerade } = this.totals.byVerdict;
    const counted = this.totals.counters.filter(({ connections }) => connections > 0);
    expect(
      {
        byVerdict: { keep: keep.connections, masquerade: masquerade.connections },
        counters: Object.fromEntries(counted.map(it => [textOf(it), it.connections])),
      },
      when,
    ).toEqual({ byVerdict: { ...this.#byVerdict }, counters: Object.fromEntries(this.#made) });
  }
}

function textOf({ family, verdict, cidr }: Pick<Counter, "family" | "verdict" | "cidr">): string {
  return `${family} ${verdict} ${cidr?.text ?? "rest"}`;
}

function keysOf({ family, masquerade, nonMasquerade }: Policy["families"][number]): string[] {
  return [
    textOf({ family, verdict: "masquerade", cidr: undefined }),
    ...masquerade.effective.map(({ cidr }) => textOf({ family, verdict: "masquerade", cidr })),
    ...nonMasquerade.effective.map(({ cidr }) => textOf({ family, verdict: "keep", cidr })),
  ];
}

/** The counter of a connection: that of the outermost CIDR that decided; undefined if no counter counts it. */
function keyOf({ families }: Policy, said: Decision, destination: Address): string | undefined {
  const { family } = destination;
  if (said.rule === "outbound") return textOf({ family, verdict: "masquerade", cidr: undefined });
  if (said.rule !== "masquerade-cidr" && said.rule !== "non-masquerade-cidr") return undefined;
  const policy = families.find(it => it.family === family);
  const list = said.rule === "masquerade-cidr" ? policy?.masquerade : policy?.nonMasquerade;
  const cidr = list?.effective.find(({ cidr }) => cidr.contains(destination))?.cidr;
  return textOf({ family, verdict: said.verdict, cidr });
}

const INSIDE = LINKS.inside.routes.map(Cidr.literal);

function wayTo(destination: Address): string {
  return (INSIDE.some(cidr => cidr.contains(destination)) ? LINKS.inside : LINKS.outside).name;
}
