import { describe, expect, test } from "bun:test";
import type { Family } from "../../src/net/cidr.ts";
import { decide } from "../../src/policy/decision.ts";
import { policyOf } from "../../src/policy/policy.ts";
import { DEFAULT_FLAGS } from "../policies.ts";
import { Folder } from "./folder.ts";

const SIX = '"fd00::/8" is IPv6, which is not enabled; set "enableIPv6: true"';
const ON = "enableIPv6: true\nmasqueradeCIDRs: [fd00::/8]\nnonMasqueradeCIDRs: []\n";

describe("enableIPv6", () => {
  test.each<[string, Record<string, string>, boolean | undefined, Family[], string[]]>([
    ["in the config", { a: ON }, undefined, ["ip", "ip6"], []],
    ["in one of several files", { a: "masqueradeCIDRs: [fd00:1::/32]", b: ON }, undefined, ["ip", "ip6"], []],
    ["set to false", { a: "enableIPv6: false" }, undefined, ["ip"], []],
    ["that is missing, without the flag", { a: "{}" }, undefined, ["ip"], []],
    ["with the flag", { a: "enableIPv6: false\nnonMasqueradeCIDRs: []" }, true, ["ip", "ip6"], []],
    ["against the flag", { a: ON }, false, [], [`d/ip-masq-a:2:19: masqueradeCIDRs[0]: ${SIX}`]],
    [
      "in lower case",
      { a: "enableipv6: true\nnonMasqueradeCIDRs: []" },
      undefined,
      ["ip", "ip6"],
      ['d/ip-masq-a:1:1: warning: enableipv6: unusual capitalization; write "enableIPv6" [key-capitals]'],
    ],
    [
      "that is not a boolean",
      { a: 'enableIPv6: "true"\nnonMasqueradeCIDRs: [10.0.0.1/8, fd00::/8]' },
      undefined,
      [],
      [
        'd/ip-masq-a:1:13: enableIPv6: expected true or false, found "true"; write true or false without quotes',
        'd/ip-masq-a:2:22: nonMasqueradeCIDRs[0]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?',
        `d/ip-masq-a:2:34: nonMasqueradeCIDRs[1]: ${SIX}`,
      ],
    ],
  ])("%s", async (_what, files, enableIPv6, families, problems) => {
    await using folder = await Folder.create(
      Object.fromEntries(Object.entries(files).map(([name, text]) => [`d/ip-masq-${name}`, text])),
    );
    expect(await folder.problems("d", { enableIPv6 })).toEqual(problems);
    const loaded = await folder.load("d", { enableIPv6 });
    const policy = loaded.ok ? policyOf(loaded.config, { ...DEFAULT_FLAGS, enableIPv6 }) : undefined;
    expect(policy?.families.map(({ family }) => family) ?? []).toEqual(families);
  });
});

describe("nonMasqueradeSourceCIDRs", () => {
  const CAPITALS = "unusual capitalization; write";
  test.each<[string, string[]]>([
    ["nonMasqueradeSourceCIDRs", []],
    ["nonMasqueradeSrcCIDRs", []],
    [
      "NonMasqueradeSrcCIDRs",
      [`c:1:1: warning: NonMasqueradeSrcCIDRs: ${CAPITALS} "nonMasqueradeSourceCIDRs" [key-capitals]`],
    ],
    [
      "NONMASQUERADESOURCECIDRS",
      [`c:1:1: warning: NONMASQUERADESOURCECIDRS: ${CAPITALS} "nonMasqueradeSourceCIDRs" [key-capitals]`],
    ],
  ])("as %s", async (key, problems) => {
    await using folder = await Folder.create({
      c: `${key}: [10.244.7.0/24]\nsourceCIDRs: [10.244.0.0/16]\n`,
    });
    expect(await folder.problems("c")).toEqual(problems);
    const loaded = await folder.load("c");
    if (!loaded.ok) throw new Error("not ok");
    const policy = policyOf(loaded.config, DEFAULT_FLAGS);
    const destination = { family: "ip", text: "203.0.113.7", value: 0xcb007107n } as const;
    const from = (value: bigint, text: string) =>
      decide(policy, { destination, source: { family: "ip", text, value } });
    expect(from(0x0af40702n, "10.244.7.2")).toMatchObject({
      verdict: "keep",
      rule: "non-masquerade-source-cidr",
      reason: `10.244.7.2 is in the non-masquerade source CIDR 10.244.7.0/24 (${folder.path}/c:1)`,
    });
    expect(from(0x0af40802n, "10.244.8.2").verdict).toBe("masquerade");
  });

  test("under both names is a duplicate", async () => {
    await using folder = await Folder.create({
      c: "nonMasqueradeSourceCIDRs: []\nnonMasqueradeSrcCIDRs: []\n",
    });
    expect(await folder.problems("c")).toEqual([
      'c:2:1: nonMasqueradeSrcCIDRs: duplicate key, first as "nonMasqueradeSourceCIDRs" on line 1; remove one of them',
    ]);
  });
});
