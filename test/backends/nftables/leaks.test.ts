import { expect, test } from "bun:test";
import fc from "fast-check";
import { renderText } from "../../../src/backends/nftables/nftables.ts";
import { ruleset } from "../../../src/backends/nftables/ruleset.ts";
import { decide } from "../../../src/policy/decision.ts";
import type { FamilyPolicy } from "../../../src/policy/policy.ts";
import { listsOf } from "../../../src/policy/policy.ts";
import { boundaries, policyArguments } from "../../arbitraries.ts";
import { policy } from "../../policies.ts";
import { dropsLeak } from "./judge.ts";

test("the chain that drops leaks", () => {
  const meant = policy({
    keep: ["10.0.0.0/8"],
    masquerade: ["10.96.0.0/12"],
    sources: ["10.244.0.0/16"],
    spared: ["10.244.7.0/24"],
    interfaces: ["eth0", "wg*"],
    marks: ["0x200/0x200"],
    dropLeaks: true,
  });
  const lines = renderText(meant).split("\n");
  const from = lines.indexOf("\tchain leaks {");
  const rules = lines
    .slice(from, lines.indexOf("\t}", from))
    .map(line => line.trim().replace(/ comment ".*/, ""));
  expect(rules).toEqual([
    "chain leaks {",
    "type filter hook postrouting priority 300; policy accept;",
    "ip saddr != @source-a return",
    "ct direction reply return",
    "fib saddr type local return",
    "rt ipsec exists return",
    "meta mark & 0x200 == 0x200 return",
    "fib daddr type != unicast return",
    'oifname != "eth0" oifname != "wg*" return',
    "ip saddr @non-masquerade-source-a return",
    'ip daddr != @non-masquerade-a counter name "leaks" drop',
    "ip daddr != @masquerade-a return",
    'counter name "leaks" drop',
  ]);
});

test.each([
  ["without the key", { sources: ["10.244.0.0/16"] }],
  ["without sources", { dropLeaks: true }],
  ["with sources of the other family", { dropLeaks: true, sources: ["fd00::/8"] }],
])("there is no such chain %s", (_name, short) => {
  const [table] = ruleset(policy(short));
  expect(table?.chains.filter(({ hook }) => hook?.type === "filter")).toEqual([]);
});

test("exactly the packets that the policy masquerades are leaks", () => {
  const ends = (family: FamilyPolicy, of: "source" | "destination") =>
    listsOf(family)
      .filter(it => it.of === of)
      .flatMap(({ list }) => list.effective.flatMap(({ cidr }) => boundaries(cidr)));
  const random = policyArguments({ sources: [], interfaces: fc.constantFrom("eth0", "eth*", "wg0") });
  let leaks = 0;
  const property = fc.property(random, ({ short, flags }) => {
    const meant = policy(
      { ...short, sources: [...(short.sources ?? []), "10.1.0.0/16"], dropLeaks: true },
      flags,
    );
    const tables = ruleset(meant);
    for (const family of meant.families) {
      for (const destination of ends(family, "destination")) {
        for (const source of ends(family, "source")) {
          for (const out of ["eth0", "wg0"]) {
            const packet = { protocol: "udp", source, destination, out } as const;
            const dropped = dropsLeak(tables, packet);
            expect(dropped, `${source.text} ${destination.text} ${out}`).toBe(
              decide(meant, packet).verdict === "masquerade",
            );
            if (dropped) leaks++;
          }
        }
      }
    }
  });
  fc.assert(property, { numRuns: 100 });
  expect(leaks).toBeGreaterThan(100);
});
