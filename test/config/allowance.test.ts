import { describe, expect, test } from "bun:test";
import { ipmasq } from "../binary.ts";
import { Folder, problemsOf } from "./folder.ts";

const SHORT =
  'warning: resyncInterval: "500ms" is too short and counts as 1s; write at least 1s [interval-raised]';

describe("a comment accepts a warning", () => {
  test.each([
    ["on its line", "resyncInterval: 500ms # ipmasq: allow interval-raised\n", []],
    ["on the line above", "# ipmasq: allow interval-raised\nresyncInterval: 500ms\n", []],
    ["among others", "resyncInterval: 500ms # ipmasq: allow unknown-key, interval-raised key-capitals\n", []],
    [
      "not two lines above",
      "# ipmasq: allow interval-raised\n\nresyncInterval: 500ms\n",
      [`c:3:17: ${SHORT}`],
    ],
    [
      "not on the line below",
      "resyncInterval: 500ms\n# ipmasq: allow interval-raised\n",
      [`c:1:17: ${SHORT}`],
    ],
    ["not for another warning", "resyncInterval: 500ms # ipmasq: allow unknown-key\n", [`c:1:17: ${SHORT}`]],
    [
      "anywhere, if the warning is about the file",
      "a: 1 # ipmasq: allow unknown-key\n\nnonMasqueradeCIDRs: [fd00::/8]\nenableIPv6: true\n# ipmasq: allow ipv4-masqueraded",
      [],
    ],
    [
      "but not an error",
      "cidrLimit: 0 # ipmasq: allow unknown-key\n",
      [
        "c:1:12: cidrLimit: expected a positive number, found 0; write a positive whole number without quotes",
      ],
    ],
    [
      "in a ConfigMap, on the lines of the config",
      "kind: ConfigMap\ndata:\n  config: |\n    resyncInterval: 500ms # ipmasq: allow interval-raised\n",
      [],
    ],
    [
      "only if the name exists",
      "# ipmasq: allow interval-risen, x\nresyncInterval: 5m\n",
      [
        'c:1:17: warning: "interval-risen" is not a warning name; did you mean "interval-raised"? [unknown-allowance]',
        'c:1:17: warning: "x" is not a warning name; copy the name in brackets at the end of the warning [unknown-allowance]',
      ],
    ],
  ])("%s", async (_what, config, lines) => {
    expect(await problemsOf(config)).toEqual(lines);
  });
});

describe("check", () => {
  const config = "nonMasqueradeCIDRs: [0.0.0.0/0]\nresyncInterval: 5s\nkeys: []\n";
  const names = ["unknown-key", "everything-kept", "frequent-resync"];
  const check = async (text: string, ...flags: string[]) => {
    await using folder = await Folder.create({ c: text });
    const { stdout, exitCode } = await ipmasq(["check", `--config=${folder.path}/c`, "--strict", ...flags]);
    return { names: [...stdout.matchAll(/\[([\w-]+)\]$/gm)].map(([, name]) => name), exitCode };
  };

  test("prints the name of each warning, and --strict makes warnings errors", async () => {
    expect(await check(config)).toEqual({
      names: ["everything-kept", "frequent-resync", "unknown-key"],
      exitCode: 1,
    });
  });

  test("--allow accepts some or all warnings", async () => {
    expect(await check(config, `--allow=${names}`)).toEqual({ names: [], exitCode: 0 });
    expect(await check(config, "--allow=everything-kept,unknown-key")).toEqual({
      names: ["frequent-resync"],
      exitCode: 1,
    });
  });

  test("comments accept lint warnings too", async () => {
    const commented = `${config}# ipmasq: allow everything-kept\n`
      .replace("5s", "5s # ipmasq: allow frequent-resync")
      .replace("[]", "[] # ipmasq: allow unknown-key");
    expect(await check(commented)).toEqual({ names: [], exitCode: 0 });
  });

  test("a name that does not exist is a warning", async () => {
    expect(await check("{}", "--allow=everything")).toEqual({ names: ["unknown-allowance"], exitCode: 1 });
  });

  test("finds nothing in the default config, with any flags of our manifests", async () => {
    expect(await check("")).toEqual({ names: [], exitCode: 0 });
    expect(await check("", "--nomasq-all-reserved-ranges", "--to-ports=1024-29999")).toEqual({
      names: [],
      exitCode: 0,
    });
  });

  test.each([
    ["", ["ipv6-masqueraded"]],
    ["nonMasqueradeCIDRs: [10.0.0.0/8]", ["ipv6-masqueraded"]],
    ["nonMasqueradeCIDRs: [fc00::/7]", ["ipv4-masqueraded"]],
    ["nonMasqueradeCIDRs: [10.0.0.0/8, fc00::/7]", []],
    ["nonMasqueradeCIDRs: []", []],
    ["nonMasqueradeCIDRs: [10.0.0.0/8]\nsourceCIDRs: [10.244.0.0/16]", ["ipv6-sources-missing"]],
    ["nonMasqueradeCIDRs: ['fc00::/7']\nsourceCIDRs: ['fd00:10:244::/56']", ["ipv4-sources-missing"]],
    ["nonMasqueradeCIDRs: []\nsourceCIDRs: [10.244.0.0/16]", ["ipv6-sources-missing"]],
    ["nonMasqueradeCIDRs: []\nnonMasqueradeSourceCIDRs: [10.244.9.0/24]", ["ipv6-sources-masqueraded"]],
    ["nonMasqueradeCIDRs: []\nnonMasqueradeSourceCIDRs: ['fd00:9::/64']", ["ipv4-sources-masqueraded"]],
    ["nonMasqueradeCIDRs: []\nnonMasqueradeSourceCIDRs: [10.244.9.0/24, 'fd00:9::/64']", []],
    [
      "nonMasqueradeCIDRs: []\nsourceCIDRs: [10.244.0.0/16]\nnonMasqueradeSourceCIDRs: [10.244.9.0/24]",
      ["ipv6-sources-missing"],
    ],
    ["sourceCIDRs: [10.244.0.0/16, fd00:10:244::/56]", ["ipv6-masqueraded"]],
  ])("with --enable-ipv6 checks each family: %j", async (text, expected) => {
    expect(await check(text, "--enable-ipv6")).toEqual({
      names: expected,
      exitCode: expected.length > 0 ? 1 : 0,
    });
    if (!/f[cd]00/.test(text)) expect(await check(text)).toEqual({ names: [], exitCode: 0 });
  });
});
