import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import type { Conflict } from "../../src/conflicts/conflict.ts";
import { type Entry, TCP } from "../../src/conntrack/entry.ts";
import { ConnectionJudge } from "../../src/inspect/connection-judge.ts";
import type { Judgement } from "../../src/inspect/judgement.ts";
import type { AddressTypes } from "../../src/inspect/local-routes.ts";
import { encodedPolicy, PolicyAnswer } from "../../src/inspect/policy-json.ts";
import { type Address, Cidr } from "../../src/net/cidr.ts";
import { decide } from "../../src/policy/decision.ts";
import { listsOf, type Policy } from "../../src/policy/policy.ts";
import { boundaries, policyArguments } from "../arbitraries.ts";
import { address, policy } from "../policies.ts";

const NODE = "192.0.2.1";
const TYPES: Pick<AddressTypes, "isLocal" | "isBroadcast"> = {
  isLocal: ({ text }) => text === NODE || text.startsWith("127.") || text === "2001:db8::1",
  isBroadcast: ({ text }) => text === "10.9.255.255",
};
const typeCidrs = [`${NODE}/32`, "127.0.0.0/8", "2001:db8::1/128", "10.9.255.255/32"].map(Cidr.literal);

/** An entry of a connection: `from` to `to`, which DNAT replaced by `at`, seen from `seen`. */
function entry(from: string, to: string, seen = from, at = to): Entry {
  const [source, destination, address1, translated] = [from, to, seen, at].map(it => address(it));
  if (!source || !destination || !address1 || !translated) throw new Error("incomplete");
  return {
    ...{ family: source.family, protocol: 17, state: "", zone: 0, id: 1 },
    original: { source: source.value, sourcePort: 5, destination: destination.value, destinationPort: 53 },
    reply: { source: translated.value, sourcePort: 53, destination: address1.value, destinationPort: 5 },
  };
}

function judged(of: Policy, it: Entry, conflicts: readonly Conflict[] = []): string {
  const judge = new ConnectionJudge(of, { types: TYPES, typeCidrs, routes: undefined, conflicts });
  return said(judge.judge(it));
}

function said(judgement: Judgement | undefined): string {
  if (!judgement) return "none";
  if ("exempt" in judgement) return `exempt: ${judgement.exempt}`;
  const { row, has, outcome } = judgement;
  return `${row.cidr ?? "all other"} ${has}: ${outcome}`;
}

const POD = "10.244.1.2";
const OUT = "203.0.113.7";
const KEPT = policy({ keep: ["10.0.0.0/8"] });

test.each<[entry: Entry, judgement: string]>([
  [entry(POD, "10.1.2.3"), "10.0.0.0/8 kept: agrees"],
  [entry(POD, "10.1.2.3", NODE), "10.0.0.0/8 masqueraded: stale"],
  [entry(POD, OUT, NODE), "all other masqueraded: agrees"],
  [entry(POD, OUT), "all other kept: stale"],
  [entry(POD, "10.96.0.1", NODE, OUT), "all other masqueraded: agrees"],
  [entry(POD, "10.96.0.1", POD, OUT), "all other kept: stale"],
  [entry(POD, "10.96.0.1", NODE, "10.3.3.3"), "10.0.0.0/8 masqueraded: stale"],
  [entry(POD, "10.96.0.1", NODE, POD), "exempt: hairpin"],
  [entry(OUT, NODE), "exempt: node"],
  [entry(OUT, NODE, OUT, POD), "10.0.0.0/8 kept: agrees"],
  [entry(POD, "127.0.0.1"), "exempt: node"],
  [entry(POD, "224.0.0.251"), "exempt: group"],
  [entry(POD, "10.9.255.255"), "exempt: group"],
  [entry(POD, "255.255.255.255"), "exempt: group"],
  [entry(NODE, OUT), "all other node: agrees"],
  [entry(NODE, "10.1.2.3", "10.0.0.2"), "10.0.0.0/8 masqueraded: stale"],
  [{ ...entry(POD, OUT), zone: 3 }, "exempt: zone"],
  [{ ...entry(POD, OUT), protocol: TCP, state: "FIN_WAIT" }, "all other kept: stale"],
  [{ ...entry(POD, OUT), protocol: TCP, state: "TIME_WAIT" }, "all other kept: ended"],
  [{ ...entry(POD, "10.1.2.3", NODE), protocol: TCP, state: "CLOSE" }, "10.0.0.0/8 masqueraded: ended"],
  [{ ...entry(NODE, OUT), protocol: TCP, state: "CLOSE" }, "all other node: ended"],
  [entry("fd00::1", "fd00::2"), "none"],
])("%#: %s", (it, expected) => {
  expect(judged(KEPT, it)).toBe(expected);
});

test("masquerading to another address than that of snatAddresses is stale", () => {
  const of = policy({ keep: [], snat: ["198.51.100.0/24"], own: ["198.51.100.9"] });
  expect(judged(of, entry(POD, OUT, NODE))).toBe("all other masqueraded: stale");
  expect(judged(of, entry(POD, OUT, "198.51.100.9"))).toBe("all other masqueraded: agrees");
});

test("marks and unknown interfaces leave doubts only about kept connections", () => {
  const marks = policy({ keep: [], marks: ["0x200/0x200"] });
  expect(judged(marks, entry(POD, OUT))).toBe("all other kept: mark");
  expect(judged(marks, entry(POD, OUT, NODE))).toBe("all other masqueraded: agrees");
  const interfaces = policy({ keep: [], interfaces: ["eth0"] });
  const routes = {
    interfaceOf: ({ text }: Address) => (text === OUT ? "eth1" : undefined),
    cidrs: [Cidr.literal(`${OUT}/32`)],
  };
  const judge = new ConnectionJudge(interfaces, { types: TYPES, typeCidrs, routes, conflicts: [] });
  expect(said(judge.judge(entry(POD, OUT)))).toBe("all other kept: agrees");
  expect(said(judge.judge(entry(POD, OUT, NODE)))).toBe("all other masqueraded: stale");
  expect(said(judge.judge(entry(POD, "203.0.113.8")))).toBe("all other kept: interface");
});

describe("foreign rules", () => {
  const conflict: Conflict = {
    kind: "masquerades",
    ...{
      owner: "flannel",
      tool: "nft",
      family: "ip",
      table: "flannel",
      chain: "postrtg",
      rule: "masquerade",
    },
    ...{ priority: 100, runs: "before ipmasq", certain: true, harmless: false, remedy: "" },
    exposes: ["10.0.0.0/8"],
    sources: ["10.244.0.0/16"],
  };

  test("a rule that masquerades the connection overrules the policy", () => {
    expect(judged(KEPT, entry(POD, "10.1.2.3", NODE), [conflict])).toBe("10.0.0.0/8 masqueraded: overruled");
    expect(judged(KEPT, entry("10.7.0.1", "10.1.2.3", NODE), [conflict])).toBe(
      "10.0.0.0/8 masqueraded: stale",
    );
  });

  test("a rule may masquerade connections from outside of sourceCIDRs", () => {
    const pods = policy({ keep: ["10.0.0.0/8"], sources: ["10.244.0.0/16"] });
    const docker = { ...conflict, exposes: [], sources: ["172.17.0.0/16"], harmless: true };
    const outcomes = (conflicts: readonly Conflict[]) =>
      ["172.17.0.2", "172.18.0.2"].map(from => judged(pods, entry(from, OUT, NODE), conflicts));
    const [agrees, stale] = ["all other masqueraded: agrees", "all other masqueraded: stale"];
    expect(outcomes([docker])).toEqual([agrees, stale]);
    expect(outcomes([{ ...docker, only: "packets with mark 0x4000" }])).toEqual([stale, stale]);
    expect(outcomes([])).toEqual([stale, stale]);
  });

  test("a rule may masquerade connections by interfaces outside of outputInterfaces", () => {
    const meant = policy({ keep: ["10.0.0.0/8"], interfaces: ["eth0"] });
    const routes = {
      interfaceOf: ({ text }: Address) => ({ [OUT]: "wg0", "203.0.113.8": "wg1" })[text],
      cidrs: [`${OUT}/32`, "203.0.113.8/32"].map(Cidr.literal),
    };
    const by = (interfaces: string[] | undefined) => {
      const { sources: _, ...any } = { ...conflict, exposes: [], harmless: true };
      const conflicts = [{ ...any, ...(interfaces && { interfaces }) }];
      const judge = new ConnectionJudge(meant, { types: TYPES, typeCidrs, routes, conflicts });
      return [OUT, "203.0.113.8", "203.0.113.9"].map(to => said(judge.judge(entry(POD, to, NODE))));
    };
    const [agrees, stale] = ["all other masqueraded: agrees", "all other masqueraded: stale"];
    expect(by(["wg0"])).toEqual([agrees, stale, agrees]);
    expect(by(["!wg0"])).toEqual([stale, agrees, agrees]);
    expect(by(["wg*"])).toEqual([agrees, agrees, agrees]);
    expect(by(undefined)).toEqual([stale, stale, agrees]);
  });

  test("a rule for marked packets may have masqueraded a Service's connection", () => {
    const marked = [{ ...conflict, exposes: [], sources: [], harmless: true }];
    expect(judged(KEPT, entry(POD, "10.96.0.1", NODE, "10.3.3.3"), marked)).toBe(
      "10.0.0.0/8 masqueraded: service",
    );
    expect(judged(KEPT, entry(POD, "10.3.3.3", NODE), marked)).toBe("10.0.0.0/8 masqueraded: stale");
  });

  test("a rule that enforceNonMasquerade defeats changes nothing", () => {
    const defeated = [{ ...conflict, harmless: true, defeated: true }];
    expect(judged(KEPT, entry(POD, "10.1.2.3", NODE), defeated)).toBe("10.0.0.0/8 masqueraded: stale");
    expect(judged(KEPT, entry(POD, "10.96.0.1", NODE, "10.3.3.3"), defeated)).toBe(
      "10.0.0.0/8 masqueraded: stale",
    );
  });

  test("a rule that exempts the connection overrules the policy", () => {
    const exempts: Conflict = { ...conflict, kind: "exempts", exposes: [], exempts: ["203.0.113.0/24"] };
    expect(judged(KEPT, entry(POD, OUT), [exempts])).toBe("all other kept: overruled");
  });
});

const SOURCES = ["10.244.1.2", "fd00:10:244:1::2"];
const policies = policyArguments({ sources: SOURCES, interfaces: fc.constant("eth0") });

test("judgements are as the decision on a new connection, at every end of every CIDR", () => {
  fc.assert(
    fc.property(policies, ({ short, flags }) => {
      const of = policy({ ...short, interfaces: [], marks: [], snat: [] }, flags);
      const judge = new ConnectionJudge(of, { types: TYPES, typeCidrs, routes: undefined, conflicts: [] });
      for (const family of of.families) {
        const ends = (side: "source" | "destination") =>
          listsOf(family)
            .filter(it => it.of === side)
            .flatMap(({ list }) => list.effective.flatMap(({ cidr }) => boundaries(cidr)));
        const own = address(family.family === "ip" ? "10.244.1.2" : "fd00:10:244:1::2");
        for (const destination of ends("destination")) {
          for (const source of [own, ...ends("source")]) {
            if (source.value === destination.value || TYPES.isLocal(source)) continue;
            const { verdict, rule } = decide(of, {
              destination,
              source,
              local: TYPES.isLocal(destination),
              broadcast: TYPES.isBroadcast(destination),
            });
            const judgement = judge.judge(entry(source.text, destination.text));
            const isExempt = ["local", "multicast", "broadcast"].includes(rule);
            expect([destination.text, said(judgement).replace(/^.* /, "")]).toEqual([
              destination.text,
              isExempt ? said(judgement).replace("exempt: ", "") : verdict === "keep" ? "agrees" : "stale",
            ]);
            if (judgement && !("exempt" in judgement) && rule.endsWith("masquerade-cidr"))
              expect(judgement.row.cidr?.contains(destination)).toBe(true);
          }
        }
      }
    }),
    { numRuns: 50 },
  );
});

test("a policy sent through the socket gives the same judgements", () => {
  fc.assert(
    fc.property(policies, ({ short, flags }) => {
      const of = policy(short, flags);
      const text = JSON.stringify({ build: "1 x", conflicts: 0, policy: encodedPolicy(of) });
      expect(v.parse(PolicyAnswer, JSON.parse(text)).policy).toEqual(of);
    }),
  );
});
