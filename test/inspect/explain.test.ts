import { describe, expect, test } from "bun:test";
import { ruleset as iptablesRuleset } from "../../src/backends/iptables/ruleset.ts";
import { ruleset } from "../../src/backends/nftables/ruleset.ts";
import { type Explanation, explain, explainLive, type Question } from "../../src/inspect/explain.ts";
import { explanationLine, explanationText } from "../../src/inspect/explain-text.ts";
import { type TraceableRuleset, trace } from "../../src/net/trace.ts";
import { traceableRuleset } from "../../src/nft/traceable.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { traceableRule } from "../../src/xtables/traceable.ts";
import { address, policy, type Short } from "../policies.ts";

/** `DST`, or `SRC DST`. */
function question(text: string, more: Partial<Question> = {}): Question {
  const [first = "", second] = text.split(" ");
  if (second === undefined) return { destination: address(first), ...more };
  return { source: address(first), destination: address(second), ...more };
}

const short: Short = {
  keep: ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32"],
  masquerade: ["10.96.0.0/12"],
  sources: ["10.244.0.0/16", "fd00::/8"],
  interfaces: ["eth*"],
};
const flags = { enableIPv6: true, toPorts: [{ first: 1024, last: 2000 }] };

test.each([
  [
    "10.1.2.3",
    {
      verdict: "keep",
      rule: "non-masquerade-cidr",
      cidr: "10.1.2.0/24",
      within: ["10.1.0.0/16", "10.0.0.0/8"],
    },
  ],
  ["10.1.2.3", { origin: { file: "/config", line: 4, column: 5 }, assuming: [] }],
  ["169.254.1.1", { verdict: "keep", cidr: "169.254.0.0/16", origin: { default: true } }],
  ["10.100.0.1", { verdict: "masquerade", rule: "masquerade-cidr", cidr: "10.96.0.0/12", within: [] }],
  [
    "203.0.113.7",
    {
      verdict: "masquerade",
      rule: "outbound",
      sourcePorts: "1024-2000",
      assuming: [
        "its source is in sourceCIDRs",
        "it leaves by eth*",
        "203.0.113.7 is not an address of the node, and not a broadcast address of its networks",
        "no outgoing IPsec policy applies",
      ],
    },
  ],
  ["192.0.2.1 203.0.113.7", { verdict: "keep", rule: "source", source: "192.0.2.1", assuming: [] }],
  ["127.0.0.1", { verdict: "keep", rule: "local" }],
  ["::1", { verdict: "keep", rule: "local" }],
  [
    "224.0.0.251",
    {
      verdict: "keep",
      rule: "multicast",
      reason: "224.0.0.251 is a multicast address, never masqueraded",
      assuming: [],
    },
  ],
  ["ff02::fb", { verdict: "keep", rule: "multicast" }],
  ["255.255.255.255", { verdict: "keep", rule: "broadcast" }],
  ["2001:db8::1", { verdict: "keep", cidr: "2001:db8::/32" }],
] as const)("%s", (text, expected) => {
  expect(explain(policy(short, flags), question(text))).toMatchObject(expected as object);
});

test("known properties are not assumed", () => {
  const meant = policy(short, { ...flags, enableIPv6: false });
  const all = question("10.244.1.2 203.0.113.7", { out: "eth0", local: false, protocol: "icmp", port: 7 });
  const said = explain(meant, all);
  expect(said).toMatchObject({ verdict: "masquerade", out: "eth0", protocol: "icmp", port: 7 });
  expect(said.assuming).toEqual(["no outgoing IPsec policy applies"]);
  expect(said.sourcePorts).toBeUndefined(); // of tcp, udp and sctp only
  expect(explain(meant, { ...all, out: "wg0" })).toMatchObject({ verdict: "keep", rule: "output-interface" });
  expect(explain(meant, question("2001:db8::1"))).toMatchObject({ verdict: "keep", rule: "family" });
});

test("as text", () => {
  const meant = policy(short, flags);
  expect(explanationText(explain(meant, question("10.1.2.3")), meant, "nftables")).toEqual([
    "10.1.2.3: keeps its address",
    "  because  10.1.2.3 is in the non-masquerade CIDR 10.1.2.0/24 (/config:4)",
    "  within   10.1.0.0/16, 10.0.0.0/8",
    '  rule     "cluster-local traffic" in chain IP-MASQ-AGENT',
  ]);
  expect(
    explanationText(explain(meant, question("10.244.1.2 203.0.113.7", { out: "eth1" })), meant, "nftables"),
  ).toEqual([
    "10.244.1.2 to 203.0.113.7: gets the node's address (masquerade)",
    "  because  203.0.113.7 is not in a non-masquerade CIDR",
    '  rule     "outbound traffic", the last rule of chain IP-MASQ-AGENT, masqueraded in chain outbound',
    "  ports    its source port becomes one of 1024-2000",
    "  if       203.0.113.7 is not an address of the node, and not a broadcast address of its networks",
    "  if       no outgoing IPsec policy applies",
  ]);
  const rule = (to: string, backend: "nftables" | "iptables") =>
    explanationText(explain(meant, question(to)), meant, backend).find(line => line.includes(" rule "));
  expect(rule("224.0.0.251", "nftables")).toBe(
    '  rule     "multicast is never masqueraded" in chain postrouting',
  );
  expect(rule("255.255.255.255", "nftables")).toBe("  rule     none: chain postrouting excludes broadcast");
  expect(rule("255.255.255.255", "iptables")).toBe(
    '  rule     "broadcast is never masqueraded" in chain IP-MASQ-AGENT',
  );
  expect(explanationLine(explain(meant, question("10.1.2.3")))).toBe(
    "10.1.2.3\tkeep\t10.1.2.3 is in the non-masquerade CIDR 10.1.2.0/24 (/config:4)",
  );
});

/** The rules that each backend writes for a policy, ready to trace. */
const RENDERED: Readonly<Record<"nftables" | "iptables", (policy: Policy) => TraceableRuleset[]>> = {
  nftables: policy => ruleset(policy).map(traceableRuleset),
  iptables: policy =>
    policy.families.map(family => {
      const { jump, chains } = iptablesRuleset(policy, family);
      const all = [{ name: "POSTROUTING", rules: [jump] }, ...chains];
      return {
        family: family.family,
        base: "POSTROUTING",
        chains: new Map(all.map(({ name, rules }) => [name, rules.map(rule => traceableRule(name, rule))])),
      };
    }),
};

/** Policies for every shape of a ruleset. */
const SHAPES: readonly Short[] = [undefined, ["10.244.0.0/16", "fd00::/8"], ["fd00::/8"]].flatMap(sources =>
  [undefined, ["eth0", "wg*"]].flatMap(interfaces =>
    [undefined, ["10.96.0.0/12", "fd00:96::/32"]].flatMap(masquerade =>
      [undefined, ["10.244.7.0/24", "192.0.2.0/24", "2001::/64"]].map(spared => ({
        keep: ["10.0.0.0/8", "fd00::/8"],
        ...(sources && { sources }),
        ...(interfaces && { interfaces }),
        ...(masquerade && { masquerade }),
        ...(spared && { spared }),
      })),
    ),
  ),
);

const SOURCES = { ip: ["10.244.0.2", "10.244.7.2", "192.0.2.2"], ip6: ["fd00::2", "2001::2"] };

/** Destinations that are never an address of a node. */
const GROUPS = ["224.0.0.251", "255.255.255.255", "ff02::fb"];

const QUESTIONS = [
  ...GROUPS,
  "10.97.0.1",
  "10.1.0.1",
  "203.0.113.7",
  "fd00:96::1",
  "fd00::1",
  "2001:db8::1",
].flatMap(to =>
  [to, ...SOURCES[address(to).family].map(from => `${from} ${to}`)].flatMap(words =>
    [{}, { out: "eth0" }, { out: "eth1" }, ...(GROUPS.includes(to) ? [] : [{ local: true }])].map(more =>
      question(words, more),
    ),
  ),
);

/** Conditions that a rule checks before it enters the chain of verdicts. */
const CONDITIONS: Partial<Record<Explanation["rule"], string>> = {
  local: "local",
  broadcast: "broadcast",
  source: "source",
  "output-interface": "out",
};

const NAMED =
  /^ {2}rule {5}"([^"]+)"(?: in|, the last rule of) chain (\S+?)(?:, masqueraded in chain (\S+))?$/;

describe.each(["nftables", "iptables"] as const)(
  "explain names the rules and chains that %s writes",
  backend => {
    test.each(
      SHAPES.flatMap(short => [
        { short, flags: {} },
        { short, flags: { enableIPv6: true, toPorts: [{ first: 80, last: 90 }], masqChain: "M-OUT" } },
      ]),
    )("%j", ({ short, flags }) => {
      const meant = policy(short, flags);
      const rendered = RENDERED[backend](meant);
      for (const asked of QUESTIONS) {
        const explanation = explain(meant, asked);
        const [text = ""] = explanationText(explanation, meant, backend).filter(it =>
          it.startsWith("  rule "),
        );
        const rules = rendered.find(({ family }) => family === asked.destination.family);
        const result = rules && trace(rules, asked);
        const about = `${asked.source?.text} ${asked.destination.text} ${text}`;
        expect(result?.verdict ?? "keep", about).toBe(explanation.verdict);
        const [, why, named = "", outbound = named] = NAMED.exec(text) ?? [];
        if (why === undefined) {
          expect(result?.rule, about).toBeUndefined();
          const check = /chain (\S+) (?:excludes|requires)/.exec(text)?.[1];
          const needed = CONDITIONS[explanation.rule];
          if (check === undefined) expect(text).toEndWith("none: ipmasq does not masquerade this family");
          else if (needed === undefined) throw new Error(about);
          else {
            const conditions = (rules?.chains.get(check) ?? [])
              .filter(({ action }) => action.does === "jump" || action.does === "goto")
              .map(it => it.conditions.map<string>(({ on }) => on));
            expect(conditions, about).not.toEqual([]);
            for (const all of conditions) expect(all, about).toContain(needed);
          }
        } else {
          // With nftables, an earlier check may keep a source away from its rule.
          if (explanation.rule !== "non-masquerade-source-cidr" || result?.rule)
            expect(result?.chain, about).toBe(outbound);
          const all = rules?.chains.get(named) ?? [];
          const holds = (it: { text: string } | undefined) => it?.text.includes(`"ip-masq-agent: ${why}"`);
          expect(text.includes("last rule") ? holds(all.at(-1)) : all.some(holds), about).toBe(true);
        }
      }
    });
  },
);

test("the chosen address is explained, and a rule with another address differs", () => {
  const meant = policy({ snat: ["192.0.2.0/24"], own: ["192.0.2.7"] });
  const question = { destination: address("203.0.113.7") };
  const { sourceAddress } = explain(meant, question);
  expect(sourceAddress).toEqual({
    address: "192.0.2.7",
    reason: "192.0.2.7 of eth9 is in 192.0.2.0/24 (/config:2), the CIDR of snatAddresses",
  });
  expect(explanationText(explain(meant, question), meant, "nftables")).toContain(
    `  address  ${sourceAddress?.reason}`,
  );
  expect(explain(meant, { destination: address("10.1.2.3") }).sourceAddress).toBeUndefined();
  const kernel = (to: string): TraceableRuleset => ({
    family: "ip",
    base: "c",
    chains: new Map([
      ["c", [{ text: `snat to ${to}`, conditions: [], action: { does: "snat", address: to } }]],
    ]),
  });
  const live = (to: string) => explainLive(meant, question, [kernel(to)]).live;
  expect(live("192.0.2.7")).toMatchObject({ verdict: "masquerade", agrees: true });
  expect(live("192.0.2.8")).toMatchObject({ verdict: "masquerade", agrees: false, address: "192.0.2.8" });
});
