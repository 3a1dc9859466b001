import { expect, test } from "bun:test";
import fc from "fast-check";
import { interfaceSets, interfacesWithout, isInterfaceIn } from "../../src/inspect/interface-set.ts";
import { settingChanges, type VerdictChange, verdictDiff } from "../../src/inspect/verdict-diff.ts";
import { verdictDiffText } from "../../src/inspect/verdict-diff-text.ts";
import { type Address, Cidr } from "../../src/net/cidr.ts";
import type { InterfaceSelection } from "../../src/net/interface-name.ts";
import { type Connection, decide } from "../../src/policy/decision.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { boundaries, interfaceName, type PolicyArguments, policyArguments } from "../arbitraries.ts";
import { address, policy, type Short } from "../policies.ts";

const DEFAULTS = "all except 10.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16";

test.each<[string, Short, Short, string]>([
  ["nothing", { keep: ["10.0.0.0/8"] }, { keep: ["10.0.0.0/8"] }, "The same connections are masqueraded."],
  [
    "other words for the same",
    { keep: ["10.0.0.0/8"], sources: ["10.0.0.0/8"], interfaces: ["eth*"] },
    {
      keep: ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"],
      sources: ["10.0.0.0/9", "10.128.0.0/9"],
      interfaces: ["eth0", "eth*", "eth*"],
    },
    "The same connections are masqueraded.",
  ],
  [
    "sources and interfaces of a policy that masquerades nothing",
    { keep: ["0.0.0.0/0"], sources: ["10.0.0.0/8"], interfaces: ["eth0"] },
    { keep: ["0.0.0.0/0"], sources: ["11.0.0.0/8"], interfaces: ["eth1"] },
    "The same connections are masqueraded.",
  ],
  [
    "one more",
    { keep: [] },
    { keep: ["192.0.2.0/24"] },
    `IPv4 connections that were masqueraded and will be kept:
  to    192.0.2.0/24`,
  ],
  [
    "an exception, for some sources",
    { keep: ["10.0.0.0/8"], sources: ["10.244.0.0/16", "10.247.0.0/16"] },
    { keep: ["10.0.0.0/8"], sources: ["10.244.0.0/16", "10.247.0.0/16"], masquerade: ["10.96.0.0/12"] },
    `IPv4 connections that were kept and will be masqueraded:
  to    10.96.0.0/12
  from  10.244.0.0/16, 10.247.0.0/16`,
  ],
  [
    "half of one",
    { keep: ["10.0.0.0/8"] },
    { keep: ["10.0.0.0/9", "11.0.0.0/8", "12.0.0.0/8"] },
    `IPv4 connections that were kept and will be masqueraded:
  to    10.128.0.0/9
IPv4 connections that were masqueraded and will be kept:
  to    11.0.0.0/8
        12.0.0.0/8`,
  ],
  [
    "sources",
    { sources: ["10.244.0.0/16"] },
    { sources: ["10.244.0.0/17", "10.245.0.0/16"] },
    `IPv4 connections that were kept and will be masqueraded:
  to    ${DEFAULTS}
  from  10.245.0.0/16
IPv4 connections that were masqueraded and will be kept:
  to    ${DEFAULTS}
  from  10.244.128.0/17`,
  ],
  [
    "sources that are never masqueraded",
    {},
    { spared: ["10.244.7.0/24"] },
    `IPv4 connections that were masqueraded and will be kept:
  to    ${DEFAULTS}
  from  10.244.7.0/24`,
  ],
  [
    "only some sources",
    {},
    { sources: ["10.244.0.0/16"], spared: ["10.244.128.0/17"] },
    `IPv4 connections that were masqueraded and will be kept:
  to    ${DEFAULTS}
  from  all except 10.244.0.0/17`,
  ],
  [
    "interfaces",
    { interfaces: ["eth0"] },
    { interfaces: ["eth1"] },
    `IPv4 connections that were kept and will be masqueraded:
  to    ${DEFAULTS}
  by    eth1
IPv4 connections that were masqueraded and will be kept:
  to    ${DEFAULTS}
  by    eth0`,
  ],
  [
    "interfaces by their beginnings",
    {},
    { interfaces: ["eth*", "wg0"] },
    `IPv4 connections that were masqueraded and will be kept:
  to    ${DEFAULTS}
  by    all except eth*, wg0`,
  ],
  [
    "everything at once",
    { keep: [], sources: ["10.1.0.0/16"], interfaces: ["eth*"], masqLinkLocal: true },
    { keep: ["10.0.0.0/8"], sources: ["10.1.1.0/24"], interfaces: ["eth0", "wg0"], masqLinkLocal: true },
    `IPv4 connections that were kept and will be masqueraded:
  to    all except 10.0.0.0/8
  from  10.1.1.0/24
  by    wg0
IPv4 connections that were masqueraded and will be kept:
  to    10.0.0.0/8
  from  10.1.0.0/16
  by    eth*
IPv4 connections that were masqueraded and will be kept:
  to    all except 10.0.0.0/8
  from  10.1.0.0/24
        10.1.2.0/23
        10.1.4.0/22
        10.1.8.0/21
        10.1.16.0/20
        10.1.32.0/19
        10.1.64.0/18
        10.1.128.0/17
  by    eth*
IPv4 connections that were masqueraded and will be kept:
  to    all except 10.0.0.0/8
  from  10.1.1.0/24
  by    eth* except eth0`,
  ],
])("%s", (_name, before, after, expected) => {
  const [old, now] = [policy(before), policy(after)];
  const lines = verdictDiffText(verdictDiff(old, now), settingChanges(old, now));
  expect(lines.join("\n")).toBe(expected);
});

test("enabling IPv6", () => {
  const text = verdictDiffText(
    verdictDiff(policy(), policy({ sources: ["fd00::/8"] }, { enableIPv6: true })),
    [],
  );
  expect(text).toEqual(
    [
      "IPv4 connections that were masqueraded and will be kept:",
      `  to    ${DEFAULTS.replaceAll(", ", "\n                   ")}`,
      "IPv6 connections that were kept and will be masqueraded:",
      "  to    all except fe80::/10",
      "  from  fd00::/8",
    ].flatMap(line => line.split("\n")),
  );
});

test.each<[string[], string[], string[]]>([
  [[], ["192.0.2.0/24", "224.0.0.0/24"], ["to    192.0.2.0/24"]],
  [[], ["128.0.0.0/1"], ["to    128.0.0.0/1"]],
  [[], ["240.0.0.0/4"], ["to    240.0.0.0/4"]],
  [[], ["224.0.0.0/3"], ["to    240.0.0.0/4"]],
  [[], ["0.0.0.0/0"], ["to    any address"]],
  [["0.0.0.0/1", "192.0.0.0/2"], ["0.0.0.0/0"], ["to    128.0.0.0/2"]],
  [["10.0.0.0/8", "224.0.0.0/3"], ["0.0.0.0/0"], ["to    all except 10.0.0.0/8", "240.0.0.0/4"]],
])("%j, then %j: CIDRs with multicast and broadcast are printed as in the config", (before, after, to) => {
  const meant = (keep: string[]) => policy({ keep, masqLinkLocal: true });
  const text = verdictDiffText(verdictDiff(meant(before), meant(after)), []);
  expect(text.slice(1).map(line => line.trim())).toEqual(to);
});

test("multicast and broadcast, which every policy keeps", () => {
  const all = ["10.0.0.0/8", "224.0.0.0/24", "255.255.255.255/32", "ff02::/16"];
  const flags = { enableIPv6: true };
  expect(verdictDiff(policy({ keep: ["10.0.0.0/8"] }, flags), policy({ keep: all }, flags))).toEqual([]);
});

test("only lists that did not change are cut", () => {
  const many = Array.from({ length: 20 }, (_, i) => `10.${2 * i}.0.0/16`);
  const text = verdictDiffText(
    verdictDiff(policy({ keep: [], sources: many }), policy({ keep: many, sources: many })),
    [],
  );
  expect(text).toHaveLength(1 + 20 + 1);
  expect(text.at(-1)).toEndWith(" 10.14.0.0/16 and 12 more");
});

test("settings that change no verdict are listed separately", () => {
  const after = policy({}, { masqChain: "M", randomFully: false, toPorts: [{ first: 1024, last: 2000 }] });
  const lines = verdictDiffText(verdictDiff(policy(), after), settingChanges(policy(), after));
  expect(lines).toEqual([
    "The same connections are masqueraded.",
    "Changed chain: IP-MASQ-AGENT before, M after.",
    "Changed source ports: any before, 1024-2000 after.",
    "Changed random ports: yes before, no after.",
  ]);
  expect(settingChanges(policy(), policy({ keep: [] }))).toEqual([]);
});

/** Names that tell sets of interfaces apart. */
function probes(names: readonly string[]): string[] {
  return [...new Set(names.flatMap(it => [it.replace(/\*$/, ""), it.replace(/\*$/, "~")])), "~"];
}

test("sets of interfaces", () => {
  const some = fc.array(
    fc.oneof(interfaceName(), fc.constantFrom("*", "eth*", "eth0", "eth01", "eth0*", "e*")),
    {
      maxLength: 4,
    },
  );
  const selection = fc.record({ patterns: some, except: fc.boolean() });
  const property = fc.property(selection, selection, (one, other) => {
    const sets = interfacesWithout(interfaceSets(one), interfaceSets(other));
    const holds = ({ patterns, except }: InterfaceSelection, name: string) =>
      patterns.some(it => (it.endsWith("*") ? name.startsWith(it.slice(0, -1)) : it === name)) !== except;
    for (const name of probes([...one.patterns, ...other.patterns])) {
      expect(sets.filter(it => isInterfaceIn(it, name)).length, name).toBe(
        holds(one, name) && !holds(other, name) ? 1 : 0,
      );
    }
  });
  fc.assert(property);
});

/** Addresses on both sides of every boundary in a list of the policies. */
function near(policies: readonly Policy[], of: "to" | "from"): Address[] {
  const lists = policies.flatMap(({ families }) =>
    families.flatMap(it =>
      of === "to" ? [it.masquerade, it.nonMasquerade] : [it.sources, it.nonMasqueradeSources],
    ),
  );
  const all = lists.flatMap(list => list?.effective.flatMap(({ cidr }) => boundaries(cidr)) ?? []);
  const others = ["192.0.2.9", "224.0.0.251", "255.255.255.255", "2001:db8::9", "ff02::fb"].map(address);
  return [...new Map([...all, ...others].map(it => [it.text, it])).values()];
}

/** Returns a test for connections of a change. */
function membership(
  change: VerdictChange,
): (connection: Required<Pick<Connection, "destination" | "source" | "out">>) => boolean {
  const [to, from] = [change.to, change.from].map(texts => texts.map(Cidr.literal));
  const holds = (cidrs: readonly Cidr[] | undefined, it: Address) => cidrs?.some(cidr => cidr.contains(it));
  return ({ destination, source, out }) =>
    holds(to, destination) === true &&
    holds(from, source) === true &&
    change.by.some(it => isInterfaceIn(it, out));
}

/** Pairs of policies. Many differ in one key only. */
function pairs(): fc.Arbitrary<readonly [Policy, Policy]> {
  const any = policyArguments({
    sources: [],
    interfaces: fc.constantFrom("eth0", "eth1", "eth*", "e*", "wg0"),
  });
  const built = ({ short, flags }: PolicyArguments) => policy(short, flags);
  return fc.tuple(any, any, fc.constantFrom("all", ...KEYS)).map(([one, other, key]) => {
    if (key === "all") return [built(one), built(other)];
    const { [key]: _left, ...rest } = one.short;
    const changed = other.short[key];
    const short = changed === undefined ? rest : { ...rest, [key]: changed };
    const families = { enableIPv6: one.flags.enableIPv6 === true || other.flags.enableIPv6 === true };
    return [built({ ...one, flags: families }), built({ short, flags: families })];
  });
}

const KEYS = ["keep", "masquerade", "sources", "spared", "interfaces", "masqLinkLocal"] as const;

test("for any two policies, the diff has exactly the connections whose verdict changes", () => {
  let told = 0;
  const property = fc.property(pairs(), fc.nat(), ([before, after], draw) => {
    const said = verdictDiff(before, after).map(change => ({ ...change, holds: membership(change) }));
    const sources = near([before, after], "from");
    const names = probes([before, after].flatMap(it => it.outputInterfaces?.patterns ?? []));
    const verdicts = (connection: Connection) => [before, after].map(it => decide(it, connection).verdict);
    const wrong: string[] = [];
    for (const [i, destination] of near([before, after], "to").entries()) {
      const own = sources.filter(({ family }) => family === destination.family);
      for (const [j, out] of names.entries()) {
        for (const k of [0, 1, 2]) {
          const source = own[(draw + i + 5 * j + 7 * k) % own.length];
          if (!source) throw new TypeError("no source");
          const connection = { destination, source, out };
          const [old, now] = verdicts(connection);
          const found = said.filter(({ holds }) => holds(connection));
          const right = old === now ? found.length === 0 : found.length === 1 && found[0]?.after === now;
          if (!right) wrong.push(`${source.text} ${destination.text} ${out}: ${old}, ${now}`);
          if (found.length > 0) told++;
        }
      }
    }
    for (const { to, from, by, after, holds } of said) {
      const [destination, source] = [to, from].map(([cidr = ""]) => address(Cidr.literal(cidr).address));
      const [out] = by.flatMap(it => probes([it.name]).filter(name => isInterfaceIn(it, name)));
      if (!destination || !source || out === undefined) throw new TypeError("an empty change");
      const connection = { destination, source, out };
      if (!holds(connection) || verdicts(connection)[1] !== after || verdicts(connection)[0] === after)
        wrong.push(`${source.text} ${destination.text} ${out}: said to be ${after}`);
    }
    expect(wrong).toEqual([]);
  });
  fc.assert(property, { numRuns: 150 });
  expect(told).toBeGreaterThan(1000);
}, 30_000);
