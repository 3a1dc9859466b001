import { expect, test } from "bun:test";
import { checkedAgainst } from "../../src/inspect/kernel-view.ts";
import { policyStatus, type Status } from "../../src/inspect/status.ts";
import { policy } from "../policies.ts";

const status: Status = {
  from: "agent",
  version: "1.2.3",
  inSync: true,
  config: "/config",
  ...policyStatus(
    policy({ keep: ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32"], masquerade: ["10.96.0.0/12"] }),
    [],
  ),
  conflicts: [],
  problems: [],
};
const nftables = ["10.96.0.0/12", "169.254.0.0/16", "10.0.0.0/8", "192.0.2.1/32"].map(
  it => `\t\t${it} counter`,
);
const iptables = ["10.96.0.0/12", "169.254.0.0/16", "10.0.0.0/8", "192.0.2.1"].map(
  it => `-A IP-MASQ-AGENT -d ${it} -j RETURN`,
);

test.each([
  ["a set", nftables],
  ["a chain", iptables],
])("a kernel with every effective CIDR in %s agrees", (_where, actual) => {
  expect(checkedAgainst({ actual }, status)).toEqual({ ...status, kernel: "has all CIDRs of the agent" });
});

test.each([
  ["nothing", [], "the kernel has no rules of ipmasq"],
  ["one less", nftables.slice(0, 3), "the kernel's rules lack 192.0.2.1/32"],
  ["a longer address", [...nftables.slice(0, 3), "192.0.2.10/32"], "the kernel's rules lack 192.0.2.1/32"],
  ["another policy", ["10.0.0.0/8"], "the kernel's rules lack 10.96.0.0/12 and 2 more CIDRs"],
])("an agent that reports in sync is not believed if the kernel has %s", (_what, actual, kernel) => {
  expect(checkedAgainst({ actual }, status)).toMatchObject({
    inSync: false,
    why: `the agent reports in sync, but ${kernel}`,
    kernel,
  });
  const failed = { ...status, inSync: false, why: "no nft" };
  expect(checkedAgainst({ actual }, failed)).toEqual({ ...failed, kernel });
});

test("if the kernel cannot be read, the status says so and the agent's report stands", () => {
  expect(checkedAgainst({ unreadable: "nft: not permitted" }, status)).toEqual({
    ...status,
    kernel: "not read: nft: not permitted",
  });
});

test.each<[string, string[], object]>([
  ["of IPv4", ["10.244.0.0/16"], { kernel: "has all CIDRs of the agent" }],
  ["of both families", ["10.244.0.0/16", "fd00:1::/64"], { kernel: "the kernel's rules lack fe80::/10" }],
])("with sourceCIDRs %s, only their families need CIDRs in the kernel", (_families, sources, expected) => {
  const asked = policyStatus(policy({ keep: ["10.0.0.0/8"], sources }, { enableIPv6: true }), []);
  const actual = ["169.254.0.0/16", "10.0.0.0/8", ...sources];
  expect(checkedAgainst({ actual }, { ...status, ...asked })).toMatchObject(expected);
});
