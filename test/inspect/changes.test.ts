import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Change, changes } from "../../src/inspect/changes.ts";
import { Cidr } from "../../src/net/cidr.ts";
import { verdict } from "../../src/policy/verdict.ts";
import { boundaries, wanted } from "../arbitraries.ts";
import { policy, type Short } from "../policies.ts";

function texts(all: readonly Change[]): string[] {
  return all.map(({ of, before, after, cidrs }) => `${of}s ${before} > ${after}: ${cidrs.join(" ")}`);
}

test.each<[string, Short, Short, string[]]>([
  ["nothing", { keep: ["10.0.0.0/8"] }, { keep: ["10.0.0.0/8"] }, []],
  [
    "other words for the same",
    { keep: ["10.0.0.0/8"] },
    { keep: ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"] },
    [],
  ],
  ["one more", { keep: [] }, { keep: ["192.0.2.0/24"] }, ["destinations masqueraded > kept: 192.0.2.0/24"]],
  [
    "an exception",
    { keep: ["10.0.0.0/8"] },
    { keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"] },
    ["destinations kept > masqueraded: 10.96.0.0/12"],
  ],
  [
    "half of one",
    { keep: ["10.0.0.0/8"] },
    { keep: ["10.0.0.0/9", "11.0.0.0/8"] },
    ["destinations kept > masqueraded: 10.128.0.0/9", "destinations masqueraded > kept: 11.0.0.0/8"],
  ],
  [
    "sources",
    { sources: ["10.244.0.0/16"] },
    { sources: ["10.244.0.0/17", "10.245.0.0/16"] },
    ["sources masqueraded > left alone: 10.244.128.0/17", "sources left alone > masqueraded: 10.245.0.0/16"],
  ],
  [
    "sources that are never masqueraded",
    { spared: ["10.244.0.0/16"] },
    { spared: ["10.244.0.0/17", "10.245.0.0/16"] },
    ["sources masqueraded > left alone: 10.245.0.0/16", "sources left alone > masqueraded: 10.244.128.0/17"],
  ],
])("%s", (_name, before, after, expected) => {
  expect(texts(changes(policy(before), policy(after)))).toEqual(expected);
});

test("IPv6 that is enabled", () => {
  const [change] = changes(
    policy({}),
    policy({ keep: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"] }, { enableIPv6: true }),
  );
  expect(change).toMatchObject({ family: "ip6", of: "destination", before: "kept", after: "masqueraded" });
});

test("on both sides of every boundary the verdicts differ just where it says so", () => {
  const any = wanted({ sources: [], interfaces: fc.constant("eth0") });
  const property = fc.property(any, any, (one, other) => {
    const [before, after] = [one, other].map(({ short, flags }) =>
      policy({ ...short, sources: [], spared: [] }, { ...flags, enableIPv6: true }),
    );
    if (!before || !after) return;
    const said = changes(before, after).flatMap(({ cidrs, ...change }) =>
      cidrs.map(text => ({ cidr: Cidr.literal(text), ...change })),
    );
    const lists = [before, after].flatMap(it => it.families).flatMap(it => [it.masquerade, it.nonMasquerade]);
    const probes = lists.flatMap(({ outer }) => outer.flatMap(({ cidr }) => boundaries(cidr)));
    for (const destination of probes) {
      const [old, now] = [before, after].map(it => verdict(it, { destination }).verdict);
      const change = said.find(({ cidr }) => cidr.contains(destination));
      expect(change?.after, destination.text).toBe(
        old === now ? undefined : now === "keep" ? "kept" : "masqueraded",
      );
    }
  });
  fc.assert(property, { numRuns: 200 });
});
