import { expect, test } from "bun:test";
import { besideKernel } from "../../src/inspect/kernel-view.ts";
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
])("a kernel that holds every effective CIDR in %s agrees", (_where, held) => {
  expect(besideKernel(status, { held })).toEqual({ ...status, kernel: "holds all CIDRs of the agent" });
});

test.each([
  ["nothing", [], "the kernel holds no rules of ipmasq"],
  ["one less", nftables.slice(0, 3), "the kernel's rules lack 192.0.2.1/32"],
  ["a longer address", [...nftables.slice(0, 3), "192.0.2.10/32"], "the kernel's rules lack 192.0.2.1/32"],
  ["another policy", ["10.0.0.0/8"], "the kernel's rules lack 10.96.0.0/12 and 2 more CIDRs"],
])("an agent that says in sync is not believed beside a kernel with %s", (_what, held, kernel) => {
  expect(besideKernel(status, { held })).toMatchObject({
    inSync: false,
    why: `the agent says in sync, but ${kernel}`,
    kernel,
  });
  const failed = { ...status, inSync: false, why: "no nft" };
  expect(besideKernel(failed, { held })).toEqual({ ...failed, kernel });
});

test("a kernel that may not be read is said to be so, and the agent's word stands", () => {
  expect(besideKernel(status, { unreadable: "nft: not permitted" })).toEqual({
    ...status,
    kernel: "not read: nft: not permitted",
  });
});
