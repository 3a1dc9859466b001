import { beforeEach, describe, expect, test } from "bun:test";
import { RunningAgent } from "../../lab/agent.ts";
import { WRITERS } from "../../lab/writers.ts";
import { debianChroot } from "../debian/chroot.ts";
import { Firewalld } from "../debian/firewalld.ts";
import { freshFolder, labPerTest } from "../lab.ts";
import { absent } from "../programs.ts";
import { foreignChains } from "./foreign-chains.ts";

/** lab/isolate mounts an empty /run. */
const CONFIG = "/run/reload/ip-masq-agent";
const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

const lab = labPerTest();
beforeEach(() => freshFolder("/run/reload", { "ip-masq-agent": "nonMasqueradeCIDRs: [10.0.0.0/8]\n" }));

/** A table as another program loads it; rules outside it are deleted. */
const FOREIGN_TABLE = `*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:THEIRS - [0:0]
-A POSTROUTING -m comment --comment "theirs" -j THEIRS
-A THEIRS -s 198.51.100.0/24 -j RETURN
COMMIT
`;

const RELOADS: Readonly<Record<string, (program: string) => readonly (readonly string[])[]>> = {
  "nft flush ruleset": () => [["nft", "flush", "ruleset"]],
  "iptables -F": program => ["nat", "filter", "mangle"].map(table => [program, "-t", table, "-F"]),
  "iptables-restore of a foreign whole table": program => [
    ["sh", "-c", `echo '${FOREIGN_TABLE}' | ${program}-restore`],
  ],
};

describe.each(WRITERS)("$name", ({ name, flags, prepare }) => {
  const program = name === "nftables" ? "iptables" : name;

  test.each(Object.keys(RELOADS))(
    "%s is repaired, and foreign rules stay unchanged",
    async reload => {
      const run = async () => {
        for (const argv of RELOADS[reload]?.(program) ?? []) await lab.node.output(argv);
      };
      await theirs();
      await run();
      const alone = await foreignChains(lab);
      await lab.flushRules();
      await theirs();
      await prepare(lab);
      const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, ...flags]);
      await settled();
      await run();
      await settled();
      expect(await foreignChains(lab)).toEqual(alone);
      expect(await agent.end()).toBe(0);
    },
    20_000,
  );
});

const firewalldRoot = await debianChroot("firewalld");
describe("firewalld", () => {
  if ("missing" in firewalldRoot) absent(firewalldRoot.missing);
  else {
    const pairs = WRITERS.flatMap(writer =>
      (["nftables", "iptables"] as const).map(it => ({ ...writer, it })),
    );
    test.each(pairs)(
      "with $it reloads, starts and stops beside $name",
      async ({ it, flags, prepare }) => {
        await prepare(lab);
        const firewalld = await Firewalld.start(lab.node, firewalldRoot, it);
        await firewalld.command("--zone=trusted", "--add-source=198.51.100.0/24");
        await firewalld.command("--reload");
        const alone = await foreignChains(lab);
        const agent = await RunningAgent.started(lab.node, [`--config=${CONFIG}`, ...flags]);
        await settled();
        await firewalld.command("--reload");
        await settled();
        expect(await foreignChains(lab)).toEqual(alone);
        await firewalld.stop();
        await settled();
        expect(await agent.end()).toBe(0);
      },
      30_000,
    );
  }
});

/** Foreign rules, written by nft and by both variants of iptables. */
async function theirs(): Promise<void> {
  await lab.node.output([
    "nft",
    "add table ip theirs { chain c { type nat hook postrouting priority 100; }; }",
  ]);
  for (const program of ["iptables-nft", "iptables-legacy"]) {
    await lab.node.output([program, "-t", "nat", "-N", "CNI-theirs"]);
    await lab.node.output([
      program,
      "-t",
      "nat",
      "-A",
      "CNI-theirs",
      "-d",
      "198.51.100.0/24",
      "-j",
      "ACCEPT",
    ]);
    await lab.node.output([program, "-A", "FORWARD", "-s", "198.51.100.1", "-j", "DROP"]);
  }
}

/** Waits until connections get the right verdicts, for at most 10 seconds, and that they keep them for a while. */
async function settled(): Promise<void> {
  const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
  const right = async () => (await owner(KEPT)) === "pod" && (await owner(OUTBOUND)) === "node";
  const began = performance.now();
  while (!(await right())) {
    if (performance.now() - began > 10_000) throw new Error("not healed within 10 s");
    await Bun.sleep(5);
  }
  await Bun.sleep(100);
  expect(await right()).toBe(true);
}
