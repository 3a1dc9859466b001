import { expect, test } from "bun:test";
import { describePolicy, policyFields, summarizePolicy } from "../../src/policy/describe.ts";
import { policy } from "../policies.ts";

const words = (...args: Parameters<typeof policy>) =>
  describePolicy(summarizePolicy(policy(...args))).map(({ label, text }) => `${label}: ${text}`);

const many = Array.from({ length: 10 }, (_, i) => `10.${2 * i}.0.0/16`);

test("a policy without restrictions has only settings", () => {
  expect(words()).toEqual(["chain: IP-MASQ-AGENT", "source ports: any", "random ports: yes"]);
});

test("every restriction is described", () => {
  const all = {
    sources: many,
    spared: ["10.0.7.0/24"],
    interfaces: ["eth0", "wg*"],
    marks: ["512/512"],
    enforce: true,
  };
  expect(words(all, { toPorts: [{ first: 1024, last: 2000 }], randomFully: false })).toEqual([
    "chain: IP-MASQ-AGENT",
    "source ports: 1024-2000",
    "random ports: no",
    `sources: only ${many.slice(0, 8).join(" ")} and 2 more`,
    "kept sources: 10.0.7.0/24",
    "interfaces: only eth0 wg*",
    "kept marks: 0x200/0x200",
    "enforced: kept connections, except packets with mark 0x4000/0x4000 or 0x2000/0x2000",
  ]);
});

test("excluded interfaces are described as such", () => {
  expect(words({ interfaces: ["!docker0", "!wg*"] })).toContain("interfaces: all except docker0 wg*");
});

test("sources of only the other family are shown as none", () => {
  expect(words({ sources: ["fd00::/8"] })).toContain("sources: none");
});

test("the log has the lists of destinations, under the names of the config", () => {
  expect(policyFields(policy({ keep: ["10.0.0.0/8"], masquerade: ["10.96.0.0/12"] }))).toEqual({
    chain: "IP-MASQ-AGENT",
    toPorts: "any",
    randomFully: "yes",
    nonMasqueradeCIDRs: "169.254.0.0/16 10.0.0.0/8",
    masqueradeCIDRs: "10.96.0.0/12",
  });
});
