import { expect, test } from "bun:test";
import { formatProblems } from "../../src/config/problem.ts";
import { advice } from "../../src/inspect/advice.ts";
import { Folder } from "../config/folder.ts";

test.each<[string, string[]]>([
  ["", []],
  ["nonMasqueradeCIDRs: []", []],
  ["nonMasqueradeCIDRs: [10.0.0.0/8]\nmasqueradeCIDRs: [10.96.0.0/12]\nresyncInterval: 10s", []],
  ["nonMasqueradeCIDRs: [fd00:1::/32]", []],
  [
    "nonMasqueradeCIDRs: [192.0.2.0/24]",
    [
      "1:22: warning: nonMasqueradeCIDRs: the list holds no private range, so Pods reach one another with the node's address; add the CIDRs of Pods, Services and nodes, or write [] if that is meant",
    ],
  ],
  [
    "nonMasqueradeCIDRs:\n  - 128.0.0.0/1\n  - 0.0.0.0/1\n",
    [
      "2:5: warning: nonMasqueradeCIDRs: the list holds all of 0.0.0.0/0, so none of it is ever masqueraded but masqueradeCIDRs; name what is inside of your network only",
    ],
  ],
  [
    "nonMasqueradeCIDRs: [10.0.0.0/8, 169.254.169.254/32]",
    [
      "1:34: warning: nonMasqueradeCIDRs: 169.254.169.254/32 adds nothing: 169.254.0.0/16 is not masqueraded anyway; leave it out",
    ],
  ],
  ["nonMasqueradeCIDRs: [10.0.0.0/8, 169.254.0.0/16]\nmasqLinkLocal: true", []],
  [
    "masqueradeCIDRs: [192.168.7.0/24, 203.0.113.0/24]",
    [
      "1:35: warning: masqueradeCIDRs: 203.0.113.0/24 is in no non-masquerade CIDR, so it is masqueraded anyway; leave it out, or look for a typo",
    ],
  ],
  [
    "resyncInterval: 5s",
    [
      "1:17: warning: resyncInterval: every 5s is often: changes are seen at once without it; write at least 10s",
    ],
  ],
])("%s", async (text, expected) => {
  await using folder = await Folder.create({ c: text });
  const loaded = await folder.load("c", { enableIPv6: true });
  if (!loaded.ok) throw new Error(formatProblems(loaded.problems).join("\n"));
  expect(formatProblems(advice(loaded.config))).toEqual(expected.map(line => `${folder.path}/c:${line}`));
});
