import { expect, test } from "bun:test";
import { explain, explanationLine, explanationText, type Question } from "../../src/inspect/explain.ts";
import { type Address, parseAddress } from "../../src/net/cidr.ts";
import { policy, type Short } from "../policies.ts";

function address(text: string): Address {
  const parsed = parseAddress(text);
  if ("what" in parsed) throw new TypeError(parsed.what);
  return parsed;
}

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
        "its source is one of the sourceCIDRs",
        "it leaves by eth*",
        "203.0.113.7 is no address of the node itself",
      ],
    },
  ],
  ["192.0.2.1 203.0.113.7", { verdict: "keep", rule: "source", source: "192.0.2.1", assuming: [] }],
  ["127.0.0.1", { verdict: "keep", rule: "local" }],
  ["::1", { verdict: "keep", rule: "local" }],
  ["2001:db8::1", { verdict: "keep", cidr: "2001:db8::/32" }],
] as const)("%s", (text, expected) => {
  expect(explain(policy(short, flags), question(text))).toMatchObject(expected as object);
});

test("what is said of a connection is not assumed", () => {
  const meant = policy(short, { ...flags, enableIPv6: false });
  const all = question("10.244.1.2 203.0.113.7", { out: "eth0", local: false, protocol: "icmp", port: 7 });
  const said = explain(meant, all);
  expect(said).toMatchObject({ verdict: "masquerade", assuming: [], out: "eth0", protocol: "icmp", port: 7 });
  expect(said.sourcePorts).toBeUndefined(); // of tcp, udp and sctp only
  expect(explain(meant, { ...all, out: "wg0" })).toMatchObject({ verdict: "keep", rule: "output-interface" });
  expect(explain(meant, question("2001:db8::1"))).toMatchObject({ verdict: "keep", rule: "family" });
});

test("for people", () => {
  const meant = policy(short, flags);
  expect(explanationText(explain(meant, question("10.1.2.3")), "IP-MASQ-AGENT")).toEqual([
    "10.1.2.3: keeps its address",
    "  because  10.1.2.3 is in the non-masquerade CIDR 10.1.2.0/24 (/config:4)",
    "  within   10.1.0.0/16, 10.0.0.0/8",
    '  rule     "cluster-local traffic" in chain IP-MASQ-AGENT',
  ]);
  expect(explanationText(explain(meant, question("10.244.1.2 203.0.113.7", { out: "eth1" })), "M")).toEqual([
    "10.244.1.2 to 203.0.113.7: gets the node's address (masquerade)",
    "  because  203.0.113.7 is in no non-masquerade CIDR",
    '  rule     "outbound traffic", the last one of chain M',
    "  ports    its source port is one of 1024-2000",
    "  if       203.0.113.7 is no address of the node itself",
  ]);
  expect(explanationLine(explain(meant, question("10.1.2.3")))).toBe(
    "10.1.2.3\tkeep\t10.1.2.3 is in the non-masquerade CIDR 10.1.2.0/24 (/config:4)",
  );
});
