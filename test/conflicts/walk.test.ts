import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Region } from "../../src/conflicts/region.ts";
import { everything } from "../../src/conflicts/region.ts";
import { walk } from "../../src/conflicts/walk.ts";
import { Cidr } from "../../src/net/cidr.ts";
import type { Action, Condition, TraceableRule } from "../../src/net/trace.ts";

/** Sources and destinations in these tests are 10.0.0.0 to 10.0.0.7. */
const FIRST = 0x0a000000n;
const ADDRESSES = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n];

const block = fc
  .record({ length: fc.integer({ min: 29, max: 32 }), at: fc.integer({ min: 0, max: 7 }) })
  .map(({ length, at }) => Cidr.literal(`10.0.0.${at - (at % 2 ** (32 - length))}/${length}`));

const plain = fc.record({
  on: fc.constantFrom("destination" as const, "source" as const),
  not: fc.boolean(),
  cidrs: fc.array(block, { minLength: 1, maxLength: 2 }),
});

/** The actions of rules in each chain. Those listed twice are more likely. */
const ACTIONS: Readonly<Record<string, readonly Action[]>> = {
  base: [
    ...["a", "b"].flatMap(to => [
      { does: "jump" as const, to },
      { does: "jump" as const, to },
      { does: "goto" as const, to },
    ]),
    ...(["masquerade", "masquerade", "accept", "return"] as const).map(does => ({ does })),
  ],
  a: [
    { does: "jump", to: "b" },
    { does: "goto", to: "b" },
    ...(["masquerade", "accept", "return", "return", "bind", "nothing"] as const).map(does => ({ does })),
  ],
  b: (["masquerade", "accept", "return", "return", "bind"] as const).map(does => ({ does })),
};

/** @param condition the conditions of rules */
function rules(
  condition: fc.Arbitrary<Condition>,
): fc.Arbitrary<ReadonlyMap<string, readonly TraceableRule[]>> {
  const chains = Object.entries(ACTIONS).map(([name, actions]) => {
    const conditions = fc.array(condition, { maxLength: 2 });
    const rule = fc.record({ text: fc.constant(""), conditions, action: fc.constantFrom(...actions) });
    return fc.tuple(fc.constant(name), fc.array(rule, { minLength: 2, maxLength: 6 }));
  });
  return fc.tuple(...chains).map(all => new Map(all));
}

interface Connection {
  readonly destination: bigint;
  readonly source: bigint;
  /** Whether conditions that are not understood hold for it. */
  readonly odd: boolean;
}

/** The rule that ends NAT for a connection, found one packet at a time as in the kernel. */
function end(
  chains: ReadonlyMap<string, readonly TraceableRule[]>,
  connection: Connection,
  chain = "base",
  depth = 0,
): TraceableRule | "policy" | undefined {
  for (const rule of chains.get(chain) ?? []) {
    if (!rule.conditions.every(it => holds(it, connection))) continue;
    const { action } = rule;
    if ("to" in action) {
      const inner = end(chains, connection, action.to, depth + 1);
      if (inner) return inner;
      if (action.does === "goto") return depth === 0 ? "policy" : undefined;
    } else if (action.does === "return") return depth === 0 ? "policy" : undefined;
    else if (action.does !== "nothing") return rule;
  }
  return undefined;
}

function holds(condition: Condition, connection: Connection): boolean {
  if (condition.on === "unknown") return connection.odd;
  if (condition.on !== "destination" && condition.on !== "source") return true;
  const value = FIRST + connection[condition.on];
  return condition.cidrs.some(({ first, last }) => first <= value && value <= last) !== condition.not;
}

function contains(region: Region, { destination, source }: Connection): boolean {
  const within = (ranges: Region[number]["sources"], at: bigint) =>
    ranges.some(([first, last]) => first <= FIRST + at && FIRST + at <= last);
  return region.some(it => within(it.destinations, destination) && within(it.sources, source));
}

/** For each connection, the translating rule that the kernel reaches, and those that the walk reaches. */
function compared(chains: ReadonlyMap<string, readonly TraceableRule[]>) {
  const { found } = walk("base", chains, {
    family: "ip",
    from: [everything("ip")],
    marks: "none",
    closed: () => false,
    find: "translations",
  });
  const connections = ADDRESSES.flatMap(destination =>
    ADDRESSES.flatMap(source => [true, false].map(odd => ({ destination, source, odd }))),
  );
  return connections.map(it => {
    const last = end(chains, it);
    const kernel = typeof last === "object" && last.action.does === "masquerade" ? last : undefined;
    const arrivals = found.filter(({ region }) => contains(region, it));
    return { kernel, arrivals };
  });
}

test("the walk reaches the same rules as the kernel", () => {
  fc.assert(
    fc.property(rules(plain), chains => {
      for (const { kernel, arrivals } of compared(chains)) {
        expect(new Set(arrivals.map(({ rule }) => rule))).toEqual(new Set(kernel ? [kernel] : []));
      }
    }),
    { numRuns: 300 },
  );
});

test("with conditions that are not understood, the walk misses no connection", () => {
  const any = fc.oneof(
    { weight: 3, arbitrary: plain },
    { weight: 1, arbitrary: fc.constant<Condition>({ on: "unknown" }) },
  );
  fc.assert(
    fc.property(rules(any), chains => {
      for (const { kernel, arrivals } of compared(chains)) {
        if (kernel) expect(arrivals.map(({ rule }) => rule)).toContain(kernel);
      }
    }),
    { numRuns: 300 },
  );
});
