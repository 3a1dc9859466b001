import { afterEach, describe, expect, test } from "bun:test";
import { output } from "../../lab/output.ts";
import { Nft } from "../../src/nft/nft.ts";
import { HOST, type Host } from "../../src/system/host.ts";
import { IptablesCommands, type Variant } from "../../src/xtables/commands.ts";
import type { Counted } from "../../src/xtables/save.ts";
import { debianTools, SUITES } from "../debian/tools.ts";
import { absent } from "../programs.ts";

const VARIANTS = ["iptables-nft", "iptables-legacy"] as const;

/** Programs in a directory instead of this machine's. */
function programsIn(folder: string): Host {
  const path = (name: string) => (folder === "" ? name : `${folder}/${name}`);
  return { ...HOST, has: name => Bun.which(path(name)) !== null, argv: name => [path(name)] };
}

function tools(variant: Variant, folder: string): IptablesCommands {
  return new IptablesCommands(variant, variant.slice("iptables".length), true, programsIn(folder));
}

afterEach(async () => {
  await output(["nft", "flush", "ruleset"]);
  await output([
    "sh",
    "-c",
    "for t in iptables-legacy ip6tables-legacy; do $t -t nat -F; $t -t nat -X; done",
  ]);
});

const RULES = `*nat
:THEIRS - [0:0]
:EMPTY - [0:0]
[3:180] -A POSTROUTING -d 10.0.0.0/8 -m comment --comment "a -c 7 8 \\"b\\" -A POSTROUTING" -j THEIRS
[1:60] -A POSTROUTING -s 10.1.0.0/16 ! -o docker0 -m comment --comment -c -j MASQUERADE
[0:0] -A THEIRS -m policy --dir out --pol ipsec -g EMPTY
[2:99] -A THEIRS -p tcp
COMMIT
`;

const POSTROUTING = [
  {
    rule: [
      ...["-d", "10.0.0.0/8", "-m", "comment", "--comment", 'a -c 7 8 "b" -A POSTROUTING'],
      ...["-j", "THEIRS"],
    ],
    packets: 3,
    bytes: 180,
  },
  {
    rule: "-s 10.1.0.0/16 ! -o docker0 -m comment --comment -c -j MASQUERADE".split(" "),
    packets: 1,
    bytes: 60,
  },
];

/** The rules with their arguments, which are parsed from their texts. */
function parsed(rules: readonly Counted[] | undefined) {
  return rules?.map(({ rule, packets, bytes }) => ({ rule, packets, bytes }));
}

const THEIRS = [
  { rule: "-m policy --dir out --pol ipsec -g EMPTY".split(" "), packets: 0, bytes: 0 },
  { rule: ["-p", "tcp"], packets: 2, bytes: 99 },
];

/** The versions of Debian suites and of this machine. */
const FOLDERS = [
  { name: "this machine", folder: "" },
  ...(await Promise.all(
    SUITES.map(async suite => {
      const found = await debianTools(suite);
      return "missing" in found
        ? { name: suite, missing: found.missing }
        : { name: suite, folder: found.wrapper };
    }),
  )),
];

for (const { name, ...found } of FOLDERS) {
  if (found.folder === undefined) {
    absent(`${found.missing}`);
    continue;
  }
  const { folder } = found;
  describe.each(VARIANTS)(`%s of ${name}`, variant => {
    const restore = `${variant}-restore`;

    test("reads a chain with its counters, and distinguishes an empty chain from a missing one", async () => {
      expect(await tools(variant, folder).chain("ip", "THEIRS")).toBe(undefined);
      await output([restore, "--counters"], RULES);
      const it = tools(variant, folder);
      expect(parsed(await it.chain("ip", "POSTROUTING"))).toEqual(POSTROUTING);
      expect(parsed(await it.chain("ip", "THEIRS"))).toEqual(THEIRS);
      expect(await it.chain("ip", "EMPTY")).toEqual([]);
      expect(await it.chain("ip", "THEIR")).toBe(undefined);
      expect((await it.chain("ip6", "POSTROUTING")) ?? []).toEqual([]);
    });

    test("agrees with iptables-save", async () => {
      await output([restore, "--counters"], RULES);
      const it = tools(variant, folder);
      const { chains } = await it.save("ip");
      for (const chain of ["POSTROUTING", "THEIRS", "EMPTY"]) {
        expect(await it.chain("ip", chain)).toEqual(chains.get(chain));
      }
    });
  });

  test(`iptables-nft of ${name}: a chain with native nft rules cannot be read`, async () => {
    await output([
      "nft",
      'add table ip nat; add chain ip nat THEIRS; add rule ip nat THEIRS oifname "eth9" masquerade; add chain ip nat POSTROUTING { type nat hook postrouting priority 100; }; add rule ip nat POSTROUTING oifname "eth9" masquerade',
    ]);
    const it = tools("iptables-nft", folder);
    for (const chain of ["POSTROUTING", "THEIRS"]) {
      expect(it.chain("ip", chain)).rejects.toThrow("table ip nat has native nft rules");
    }
    expect(await it.chain("ip", "NONE")).toBe(undefined);
  });

  // nft 0.9.8 crashes on every list command in JSON, and is not supported.
  if (name === "bullseye") continue;
  test(`nft of ${name}: a chain can have any name`, async () => {
    const nft = new Nft(programsIn(folder).argv("nft"));
    const names = ["POSTROUTING", "accept", "a;flush ruleset", "a#b", 'a "b{', "-j", "é"];
    const made = names.flatMap(name => [
      { add: { chain: { family: "ip", table: "t;x", name } } },
      { add: { rule: { family: "ip", table: "t;x", chain: name, expr: [{ masquerade: null }] } } },
    ]);
    const table = { add: { table: { family: "ip", name: "t;x" } } };
    await output(["nft", "-j", "-f", "-"], JSON.stringify({ nftables: [table, ...made] }));
    for (const name of names) {
      const listed = await nft.chain("ip", "t;x", name);
      const rules = listed?.flatMap(it => ("rule" in it ? [it.rule] : []));
      expect(rules).toMatchObject([{ chain: name, expr: [{ masquerade: null }] }]);
      expect(await nft.chainTexts("ip", "t;x", name)).toEqual(new Map());
    }
    expect(await nft.chain("ip", "t;x", "none")).toBe(undefined);
    expect(await nft.chain("ip", "none", "none")).toBe(undefined);
    await output(["nft", "add table ip t; add chain ip t c; add rule ip t c ip daddr 10.0.0.0/8 accept"]);
    expect([...(await nft.chainTexts("ip", "t", "c")).values()]).toEqual(["ip daddr 10.0.0.0/8 accept"]);
  });
}

test("iptables-legacy can be read while another program holds its lock", async () => {
  await output(["iptables-legacy-restore", "--counters"], RULES);
  const holder = Bun.spawn(["sh", "-c", "exec 9>/run/xtables.lock; flock 9; echo held; exec sleep 60"], {
    stdout: "pipe",
  });
  await holder.stdout.getReader().read();
  expect(parsed(await tools("iptables-legacy", "").chain("ip", "POSTROUTING"))).toEqual(POSTROUTING);
  holder.kill();
  await holder.exited;
});
