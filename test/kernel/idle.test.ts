import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { Lines } from "../../lab/lines.ts";
import { WRITERS } from "../../lab/writers.ts";

/** In the empty /run of lab/isolate. */
const FOLDER = "/run/idle";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const STARTED = `${FOLDER}/started`;

let lab: Lab;
beforeEach(async () => {
  lab = await Lab.create();
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(`${FOLDER}/tools`, { recursive: true });
  for (const program of ["nft", ...["iptables", "ip6tables"].flatMap(variants)]) {
    const script = `#!/bin/sh\necho "${program} $*" >>${STARTED}\nexec ${Bun.which(program)} "$@"\n`;
    await writeFile(`${FOLDER}/tools/${program}`, script, { mode: 0o755 });
  }
});
afterEach(() => lab.close());

function variants(family: string): string[] {
  return ["-nft", "-legacy"].flatMap(variant =>
    ["", "-save", "-restore"].map(it => `${family}${variant}${it}`),
  );
}

test.each(WRITERS)(
  "an idle agent starts one program a family at each resync, writes nothing and says nothing: $name",
  async ({ name, flags, prepare }) => {
    await writeFile(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, fd00::/8]\nresyncInterval: 1s\n");
    await prepare(lab);
    const command = [
      "env",
      `PATH=${FOLDER}/tools`,
      BINARY,
      `--config=${CONFIG}`,
      "--enable-ipv6",
      "--listen=",
      ...flags,
    ];
    const agent = lab.node.spawn(command, { stderr: "pipe" });
    const log = new Lines(agent.stderr);
    await log.until("rules applied");
    await Bun.sleep(1500); // it looks again at what it wrote itself
    await writeFile(STARTED, "");
    const monitor = lab.node.spawn(["nft", "monitor"]);
    await Bun.sleep(2500);
    monitor.kill();
    expect(await monitor.stdout.text()).toBe("");
    const started = (await readFile(STARTED, "utf8")).trim().split("\n");
    const [four, six] =
      name === "nftables"
        ? ["nft -j list table ip ", "nft -j list table ip6 "]
        : [`${name}-save `, `${name.replace("ip", "ip6")}-save `];
    const count = (begin: string | undefined) => started.filter(line => line.startsWith(begin ?? "")).length;
    expect(count(four)).toBeWithin(2, 5);
    expect(count(six)).toBe(count(four));
    expect(started).toHaveLength(count(four) + count(six));
    agent.kill("SIGTERM");
    expect((await log.all()).map(line => line.replace(/^\S+ /, ""))).toEqual(["INFO  ipmasq ends"]);
  },
  20_000,
);
