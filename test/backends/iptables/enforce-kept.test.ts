import { expect, test } from "bun:test";
import { enforceKept } from "../../../src/backends/iptables/enforce-kept.ts";
import { isOurs } from "../../../src/backends/iptables/own-chains.ts";
import { ruleset } from "../../../src/backends/iptables/ruleset.ts";
import { parseAddress } from "../../../src/net/cidr.ts";
import { trace } from "../../../src/net/trace.ts";
import { decide } from "../../../src/policy/decision.ts";
import type { Policy } from "../../../src/policy/policy.ts";
import { ruleText } from "../../../src/xtables/rule.ts";
import { traceableRule } from "../../../src/xtables/traceable.ts";
import { policy } from "../../policies.ts";

const enforced = (meant: Policy, hasChecks: boolean) =>
  meant.families.map(family => enforceKept(ruleset(meant, family), meant.foreignMasqueradeMarks, hasChecks));

test("kept connections are bound to their address, except packets with a mark for masquerading", () => {
  const [rules] = enforced(policy({ keep: ["10.0.0.0/8"], interfaces: ["eth0"], masqLinkLocal: true }), true);
  const lines = rules?.chains.flatMap(({ name, rules }) =>
    rules.map(rule => `${name} ${ruleText(rule).replace(/-m comment --comment "[^"]*" ?/, "")}`),
  );
  expect(lines).toEqual([
    "IP-MASQ-AGENT -m mark --mark 0x4000/0x4000 -j RETURN",
    "IP-MASQ-AGENT -m mark --mark 0x2000/0x2000 -j RETURN",
    "IP-MASQ-AGENT -m policy --dir out --pol ipsec -j NETMAP --to 0.0.0.0/0",
    "IP-MASQ-AGENT -d 224.0.0.0/4 -j NETMAP --to 0.0.0.0/0",
    "IP-MASQ-AGENT -m addrtype --dst-type BROADCAST -j NETMAP --to 0.0.0.0/0",
    "IP-MASQ-AGENT -o eth0 -g IP-MASQ-AGENT-DST",
    "IP-MASQ-AGENT -j NETMAP --to 0.0.0.0/0",
    "IP-MASQ-AGENT-DST -d 10.0.0.0/8 -j NETMAP --to 0.0.0.0/0",
    "IP-MASQ-AGENT-DST -j MASQUERADE --random-fully",
  ]);
});

test("every rule is recognised as ours, and the verdicts are those of the policy", () => {
  const meant = policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"], sources: ["192.0.2.0/24"] });
  const [rules] = enforced(meant, true);
  if (!rules) throw new Error("no rules");
  const all = [rules.jump, ...rules.chains.flatMap(it => it.rules)];
  expect(all.filter(rule => !isOurs(rule)).map(ruleText)).toEqual([]);
  const chains = new Map(
    rules.chains.map(({ name, rules }) => [name, rules.map(it => traceableRule(name, it))]),
  );
  chains.set("POSTROUTING", [traceableRule("POSTROUTING", rules.jump)]);
  const kernel = { family: "ip" as const, base: "POSTROUTING", chains };
  for (const to of ["10.1.2.3", "10.96.0.1", "203.0.113.7"]) {
    for (const from of ["192.0.2.9", "198.51.100.9"]) {
      const [destination, source] = [to, from].map(parseAddress);
      if (!destination || !source || "what" in destination || "what" in source) throw new Error("no address");
      const connection = { destination, source };
      expect(trace(kernel, connection).verdict, `${from} to ${to}`).toBe(decide(meant, connection).verdict);
    }
  }
});
