import { expect, test } from "bun:test";
import type { WarningName } from "../../src/config/problem.ts";
import { formatProblems } from "../../src/config/problem.ts";
import { lint } from "../../src/inspect/lint.ts";
import { type PolicyFlags, policyOf } from "../../src/policy/policy.ts";
import { Folder } from "../config/folder.ts";
import { DEFAULT_FLAGS } from "../policies.ts";

test.each<[string, string[]]>([
  ["", []],
  ["nonMasqueradeCIDRs: []", []],
  ["nonMasqueradeCIDRs: [10.0.0.0/8]\nmasqueradeCIDRs: [10.96.0.0/12]\nresyncInterval: 10s", []],
  ["nonMasqueradeCIDRs: [fd00:1::/32]", []],
  ["nonMasqueradeCIDRs: [100.96.0.0/12]", []],
  ["nonMasqueradeCIDRs: [240.10.0.0/16]", []],
  ["nonMasqueradeCIDRs: [198.18.0.0/16]", []],
  [
    "enforceNonMasquerade: true\nforeignMasqueradeMarks: [0x8000/0x8000]\nnonMasqueradeMarks: [0x4000/0x4000]",
    [],
  ],
  [
    "foreignMasqueradeMarks: [0x8000/0x8000]",
    [
      "1:26: warning: foreignMasqueradeMarks: it has no effect without enforceNonMasquerade; set enforceNonMasquerade: true, or remove it [mark-without-effect]",
    ],
  ],
  [
    "nonMasqueradeMarks: [0x200/0x200, 0x4200]",
    [
      "1:35: warning: nonMasqueradeMarks: 0x4200 contains 0x4000/0x4000, by which other programs masquerade packets; choose another mark, or change foreignMasqueradeMarks if no program uses it [mark-without-effect]",
    ],
  ],
  [
    "nonMasqueradeCIDRs: [192.0.2.0/24, fd00:1::/32]",
    [
      "1:22: warning: nonMasqueradeCIDRs: the list has no private range, so traffic between Pods gets the node's address; add the CIDRs of Pods, Services and nodes, or write [] if this is intended [no-private-range]",
    ],
  ],
  [
    "nonMasqueradeCIDRs: [192.0.2.0/24]",
    [
      "1:22: warning: nonMasqueradeCIDRs: the list has no private range, so traffic between Pods gets the node's address; add the CIDRs of Pods, Services and nodes, or write [] if this is intended [no-private-range]",
    ],
  ],
  [
    "nonMasqueradeCIDRs:\n  - 128.0.0.0/1\n  - 0.0.0.0/1\n",
    [
      "2:5: warning: nonMasqueradeCIDRs: the list covers all of 0.0.0.0/0, so only masqueradeCIDRs are masqueraded; list only CIDRs inside your network [everything-kept]",
    ],
  ],
  [
    "nonMasqueradeCIDRs: [10.0.0.0/8, 169.254.169.254/32]",
    [
      "1:34: warning: nonMasqueradeCIDRs: 169.254.169.254/32 has no effect: 169.254.0.0/16 is never masqueraded by default; remove it [redundant-link-local]",
    ],
  ],
  ["nonMasqueradeCIDRs: [10.0.0.0/8, 169.254.0.0/16]\nmasqLinkLocal: true", []],
  [
    "masqueradeCIDRs: [192.168.7.0/24, 203.0.113.0/24]",
    [
      "1:35: warning: masqueradeCIDRs: 203.0.113.0/24 has no effect: it is not inside a non-masquerade CIDR; remove it, or look for a typo [exception-without-effect]",
    ],
  ],
  [
    "resyncInterval: 5s",
    [
      "1:17: warning: resyncInterval: 5s is short: changes are applied at once without it; write at least 10s [frequent-resync]",
    ],
  ],
])("%s", async (text, expected) => {
  await using folder = await Folder.create({ c: text });
  const loaded = await folder.load("c", { enableIPv6: true });
  if (!loaded.ok) throw new Error(formatProblems(loaded.problems).join("\n"));
  expect(
    formatProblems(lint(loaded.config, policyOf(loaded.config, { ...DEFAULT_FLAGS, enableIPv6: true }))),
  ).toEqual(expected.map(line => `${folder.path}/c:${line}`));
});

test.each<[string, Partial<PolicyFlags>, WarningName[]]>([
  ["masqueradeCIDRs: [240.0.0.0/8]", {}, ["exception-without-effect"]],
  ["masqueradeCIDRs: [240.0.0.0/8]", { nomasqAllReservedRanges: true }, []],
  ["masqueradeCIDRs: [203.0.113.7/32]", { nomasqAllReservedRanges: true }, []],
  [
    "masqueradeCIDRs: [240.0.0.0/8]\nnonMasqueradeCIDRs: [10.0.0.0/8]",
    { nomasqAllReservedRanges: true },
    ["exception-without-effect"],
  ],
  [
    "masqueradeCIDRs: [fe80:1::/32]\nmasqLinkLocalIPv6: true",
    { enableIPv6: true },
    ["exception-without-effect"],
  ],
])("%j with the flags %j", async (text, flags, names) => {
  await using folder = await Folder.create({ c: text });
  const loaded = await folder.load("c", { enableIPv6: true });
  if (!loaded.ok) throw new Error(formatProblems(loaded.problems).join("\n"));
  const found = lint(loaded.config, policyOf(loaded.config, { ...DEFAULT_FLAGS, ...flags }));
  expect(found.map(({ name }) => name)).toEqual(names);
});
