import { beforeEach, expect, test } from "bun:test";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { WRITERS } from "../../lab/writers.ts";
import { labPerTest } from "../lab.ts";

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/idle";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const STARTED = `${FOLDER}/started`;

const lab = labPerTest();
beforeEach(async () => {
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(`${FOLDER}/tools`, { recursive: true });
  for (const program of ["nft", ...["iptables", "ip6tables"].flatMap(variants)]) {
    const script = `#!/bin/sh\necho "${program} $*" >>${STARTED}\nexec ${Bun.which(program)} "$@"\n`;
    await writeFile(`${FOLDER}/tools/${program}`, script, { mode: 0o755 });
  }
});

function variants(family: string): string[] {
  return ["-nft", "-legacy"].flatMap(variant =>
    ["", "-save", "-restore"].map(it => `${family}${variant}${it}`),
  );
}

/** The programs that an idle agent runs, by writer. */
const STARTS: Readonly<Record<string, readonly string[]>> = {
  nftables: ["nft -j list table ip ip-masq-agent", "nft -j list table ip6 ip-masq-agent"],
  "iptables-nft": ["iptables-nft", "ip6tables-nft"].flatMap(program =>
    ["POSTROUTING", "IP-MASQ-AGENT"].map(
      chain => `${program} --table nat --list-rules ${chain} --verbose --wait=1`,
    ),
  ),
  // Polls in between start no program.
  "iptables-legacy": ["iptables-legacy", "ip6tables-legacy"].map(it => `${it}-save --counters --table nat`),
};

test.each(WRITERS)(
  "an idle agent starts a few programs a family at each resync, writes nothing and says nothing: $name",
  async ({ name, flags, prepare }) => {
    await writeFile(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\nresyncInterval: 1s\n");
    await prepare(lab);
    const path = ["env", `PATH=${FOLDER}/tools`];
    await writeFile(STARTED, "");
    const started = new Lines(lab.node.spawn(["tail", "--follow", STARTED]).stdout);
    const agent = RunningAgent.start(
      lab.node,
      [`--config=${CONFIG}`, "--enable-ipv6", ...flags],
      [...path, BINARY],
    );
    await agent.log.until("policy in force");
    const expected = STARTS[name] ?? [];
    const resyncs = async (count: number) => {
      const lines: string[] = [];
      for (let i = 0; i < count; i++) lines.push(...(await started.until(expected[0] ?? "")));
      return lines;
    };
    // The first syncs also search for conflicts and verify the agent's own write.
    while ((await resyncs(2)).some(line => !expected.includes(line)));
    const monitor = lab.node.spawn(["nft", "monitor"]);
    await resyncs(1);
    const lines = await resyncs(3);
    monitor.kill();
    expect(await monitor.stdout.text()).toBe("");
    // In any order; the first and the last resync may be incomplete.
    expect(new Set(lines)).toEqual(new Set(expected));
    for (const it of expected) expect(lines.filter(line => line === it).length, it).toBeWithin(2, 5);
    expect(await agent.end()).toBe(0);
    expect((await agent.log.all()).map(line => line.replace(/^\S+ /, ""))).toEqual(["INFO  agent stopped"]);
  },
  20_000,
);
