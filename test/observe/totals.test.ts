import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Counter } from "../../src/backends/backend.ts";
import { Totals } from "../../src/observe/totals.ts";
import { policy } from "../policies.ts";
import { counter } from "./agent-states.ts";

const WRITER = "nftables by nft";
const read = (totals: Totals, ...counters: Counter[]) => totals.read({ writer: WRITER, counters });
const keep = (connections: number) => counter("keep", "10.0.0.0/8", connections, 60 * connections);
const rest = (connections: number) => counter("masquerade", "rest", connections, 60 * connections);
const sums = ({ counters }: Totals) =>
  Object.fromEntries(
    counters.map(({ verdict, cidr, connections }) => [`${verdict} ${cidr ?? "rest"}`, connections]),
  );

describe("counts", () => {
  test("the first reading counts since the rules were created", () => {
    const totals = new Totals();
    read(totals, keep(5));
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 5 });
  });

  test("a write loses no counts, not even if the next reading is higher than the last", () => {
    const totals = new Totals();
    read(totals, keep(5), rest(2));
    totals.wrote({ writer: WRITER }, [keep(0), rest(2)]);
    read(totals, keep(9), rest(3));
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 14, "masquerade rest": 3 });
  });

  test("a foreign flush keeps the sums", () => {
    const totals = new Totals();
    read(totals, keep(5), rest(2));
    read(totals);
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 5, "masquerade rest": 2 });
    totals.wrote({ writer: WRITER }, [keep(0), rest(0)]);
    read(totals, keep(1), rest(0));
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 6, "masquerade rest": 2 });
  });

  test("a count that a foreign restore repeats is not counted twice", () => {
    const totals = new Totals();
    read(totals, keep(100));
    read(totals, keep(90));
    read(totals, keep(95));
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 105 });
  });

  test("a foreign rule that replaces ours with an old count is not counted twice", () => {
    const totals = new Totals();
    read(totals, { ...keep(5), identity: "1 2" });
    read(totals, { ...keep(90), identity: "3 2" });
    read(totals, { ...keep(91), identity: "3 2" });
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 6 });
  });

  test("after a change of the writer, each continues from its last reading", () => {
    const totals = new Totals();
    read(totals, keep(500));
    totals.wrote({ writer: "iptables by iptables-nft" }, [keep(0)]);
    totals.read({ writer: "iptables by iptables-nft", counters: [keep(20)] });
    read(totals, keep(501));
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 521 });
  });

  test("a CIDR that leaves the policy stays in the sum by verdict", () => {
    const totals = new Totals();
    read(totals, keep(5), counter("keep", "192.0.2.0/24", 7, 420));
    totals.keep(policy({ keep: ["10.0.0.0/8"] }));
    expect(sums(totals)).toEqual({ "keep 10.0.0.0/8": 5 });
    expect(totals.byVerdict.keep).toEqual({ connections: 12, bytes: 720 });
  });
});

const CIDRS = ["10.0.0.0/8", "172.16.0.0/12", "192.0.2.0/24"];
const KEYS = [...CIDRS.map(cidr => `keep ${cidr}`), "masquerade rest"];

/** An event that changes counters in the kernel; those of `others` are foreign. */
type Event =
  | { readonly do: "connect"; readonly key: string; readonly times: number }
  | { readonly do: "read" | "others flush" | "others copy" | "others restore" | "switch" }
  | { readonly do: "others reset"; readonly key: string }
  | { readonly do: "write"; readonly cidrs: readonly string[]; readonly kept: readonly string[] };

/** A kernel with two writers, one of them active, and the connections so far. */
class Kernel {
  readonly counts: [Map<string, number>, Map<string, number>] = [new Map(), new Map()];
  readonly made = new Map<string, number>();
  copy: ReadonlyMap<string, number> = new Map();
  writer: 0 | 1 = 0;

  get now(): Map<string, number> {
    return this.counts[this.writer];
  }

  /** Increases whenever rules are recreated. */
  #identity = 0;

  /** @param identifies whether the kernel identifies the counting object, as nft does and iptables does not */
  constructor(readonly identifies: boolean) {}

  get plan() {
    const counters = countersOf(this.now).map(it =>
      this.identifies ? { ...it, identity: this.identity } : it,
    );
    return { writer: `${this.writer}`, counters };
  }

  get identity(): string {
    return `${this.writer} ${this.#identity}`;
  }

  /** Another program recreates the rules with the counts of its copy. */
  restore(): void {
    for (const [key, count] of this.copy) if (this.now.has(key)) this.now.set(key, count);
    this.#identity += 1;
  }

  /** Another program resets a counter. */
  reset(key: string): void {
    if (this.now.has(key)) this.now.set(key, 0);
  }

  connect(key: string, times: number): void {
    const count = this.now.get(key);
    if (count === undefined) return;
    this.now.set(key, count + times);
    this.made.set(key, (this.made.get(key) ?? 0) + times);
  }

  /** @param kept the keys whose counts survive the write */
  write(cidrs: readonly string[], kept: readonly string[]): Counter[] {
    const keys = KEYS.filter(key => key === "masquerade rest" || cidrs.some(cidr => key.endsWith(cidr)));
    const before = this.now;
    const after = new Map(keys.map(key => [key, kept.includes(key) ? (before.get(key) ?? 0) : 0]));
    this.counts[this.writer] = after;
    this.#identity += 1;
    // A copy that is older than one of our writes may hold higher counts; without identities this cannot be detected.
    if (!this.identifies) this.copy = new Map();
    return countersOf(after);
  }
}

function countersOf(counts: ReadonlyMap<string, number>): Counter[] {
  return [...counts].map(([key, count]) => {
    const [verdict, cidr = ""] = key.split(" ");
    return counter(verdict === "keep" ? "keep" : "masquerade", cidr, count, 60 * count);
  });
}

const key = fc.constantFrom(...KEYS);
const connect = fc.record({
  do: fc.constant("connect" as const),
  key,
  times: fc.integer({ min: 1, max: 9 }),
});
const ours: fc.Arbitrary<Event>[] = [
  connect,
  connect,
  fc.record({ do: fc.constantFrom("read" as const, "switch" as const) }),
  fc.record({ do: fc.constant("write" as const), cidrs: fc.subarray(CIDRS), kept: fc.subarray(KEYS) }),
];
const others: fc.Arbitrary<Event>[] = [
  fc.record({
    do: fc.constantFrom("others flush" as const, "others copy" as const, "others restore" as const),
  }),
  fc.record({ do: fc.constant("others reset" as const), key }),
];

/** Replays events and returns the errors of the totals. `exactly`: reads after each event and expects exact counts. */
function faults(events: readonly Event[], identifies: boolean, exactly: boolean): string[] {
  const kernel = new Kernel(identifies);
  const totals = new Totals();
  const write = (cidrs: readonly string[], kept: readonly string[]) => {
    totals.read(kernel.plan);
    totals.wrote(kernel.plan, kernel.write(cidrs, kept));
    totals.read(kernel.plan);
    totals.keep(policy({ keep: cidrs, masqLinkLocal: true }));
    for (const key of [...kernel.made.keys()])
      if (!kernel.now.has(key)) {
        gone += kernel.made.get(key) ?? 0;
        kernel.made.delete(key);
      }
  };
  /** Connections to CIDRs that left the policy. */
  let gone = 0;
  write(CIDRS, []);
  const wrong: string[] = [];
  for (const event of events) {
    const before = sums(totals);
    const verdictsBefore = totals.byVerdict.keep.connections + totals.byVerdict.masquerade.connections;
    if (event.do === "connect") kernel.connect(event.key, event.times);
    if (event.do === "write") write(event.cidrs, event.kept);
    if (event.do === "switch") {
      totals.read(kernel.plan);
      kernel.writer = kernel.writer === 0 ? 1 : 0;
      write(CIDRS, KEYS);
    }
    if (event.do === "others flush") kernel.counts[kernel.writer] = new Map();
    if (event.do === "others copy") kernel.copy = new Map(kernel.now);
    if (event.do === "others restore") kernel.restore();
    if (event.do === "others reset") kernel.reset(event.key);
    if (event.do === "read" || exactly) totals.read(kernel.plan);
    const after = sums(totals);
    const verdicts = totals.byVerdict.keep.connections + totals.byVerdict.masquerade.connections;
    for (const [key, sum] of Object.entries(after)) {
      const made = kernel.made.get(key) ?? 0;
      if (sum < (before[key] ?? 0)) wrong.push(`${key} went back`);
      if (sum > made) wrong.push(`${key} counts ${sum} of ${made}`);
      if (exactly && sum !== made) wrong.push(`${key} counts ${sum}, not ${made}`);
    }
    const made = [...kernel.made.values()].reduce((sum, count) => sum + count, gone);
    if (verdicts < verdictsBefore) wrong.push("a verdict went back");
    if (exactly ? verdicts !== made : verdicts > made) wrong.push(`verdicts count ${verdicts} of ${made}`);
  }
  return wrong;
}

test("with only our writes, every connection is counted exactly once", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(...ours), { maxLength: 30 }), fc.boolean(), (events, identifies) => {
      expect(faults(events, identifies, true)).toEqual([]);
    }),
    { numRuns: 1000 },
  );
});

test("with foreign changes, no count goes back and none counts twice", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(...ours, ...others), { maxLength: 30 }),
      fc.boolean(),
      (events, identifies) => {
        expect(faults(events, identifies, false)).toEqual([]);
      },
    ),
    { numRuns: 1000 },
  );
});
