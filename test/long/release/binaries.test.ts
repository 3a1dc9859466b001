import { afterEach, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readdir, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DIST, RunningAgent } from "../../../lab/agent.ts";
import { output } from "../../../lab/output.ts";
import { version } from "../../../package.json";
import { labPerFile } from "../../lab.ts";
import { absent } from "../../programs.ts";
import { muslRoot } from "./musl.ts";
import { emulator, nodeRoot, PROCESSORS, ROOT_SUITES } from "./roots.ts";

const NAMES = ["arm64", "arm64-musl", "x64", "x64-musl"].map(it => `ipmasq-linux-${it}`);
const ROOTS = await Promise.all(ROOT_SUITES.map(async suite => ({ suite, root: await nodeRoot(suite) })));
const MUSL = await muslRoot();
const EMULATORS = await Promise.all(
  PROCESSORS.map(async it => ({ processor: it, qemu: await emulator(it) })),
);

const PACKAGES = [
  ...["amd64", "arm64"].map(it => `ipmasq_${version}_${it}.deb`),
  ...["x86_64", "aarch64"].map(it => `ipmasq-${version}-1.${it}.rpm`),
];

test("SHA256SUMS lists all binaries and packages", async () => {
  const checked = await output(["sh", "-c", 'cd "$0" && sha256sum --check --strict SHA256SUMS', DIST]);
  expect(checked.trim().split("\n").sort()).toEqual([...NAMES, ...PACKAGES].map(it => `${it}: OK`).sort());
});

test("a second build in another directory and without network produces the same bytes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "ipmasq-build-"));
  try {
    const here = join(DIST, "..");
    for (const name of await readdir(here)) {
      if ([".git", ".cache"].includes(name)) await symlink(join(here, name), join(folder, name));
      else if (name !== "dist") await cp(join(here, name), join(folder, name), { recursive: true });
    }
    await output(["sh", "-c", 'cd "$0" && bun scripts/build.ts --all', folder]);
    const sums = (top: string) => readFile(join(top, "SHA256SUMS"), "utf8");
    expect(await sums(join(folder, "dist"))).toBe(await sums(DIST));
  } finally {
    await rm(folder, { recursive: true });
  }
}, 120_000);

test.each(["ipmasq-linux-x64", "ipmasq-linux-arm64"])(
  "%s asks for nothing newer than glibc 2.17",
  async name => {
    const text = Buffer.from(await Bun.file(join(DIST, name)).arrayBuffer()).toString("latin1");
    const versions = [...text.matchAll(/GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
    expect(Math.max(...versions)).toBe(17);
  },
);

describe("in the root of Debian's", () => {
  const binary = join(DIST, `ipmasq-linux-${process.arch}`);
  for (const { suite, root } of ROOTS) {
    // bullseye's nft is too old.
    const backend = suite === "bullseye" ? "iptables" : "nftables";
    if ("missing" in root) absent(root.missing);
    else works(suite, root.command([binary], DIST), backend);
  }
});

describe("in a root with", () => {
  if ("missing" in MUSL) absent(MUSL.missing);
  else works("musl", MUSL.command([join(DIST, `ipmasq-linux-${process.arch}-musl`)], DIST), "nftables");
});

describe("on the emulated processor", () => {
  for (const { processor, qemu } of EMULATORS) {
    const binary = `ipmasq-linux-${processor === "arm64" ? "arm64" : "x64"}`;
    if ("missing" in qemu) absent(qemu.missing);
    else works(processor, qemu.command([join(DIST, binary)]), "nftables");
  }
});

const lab = labPerFile();
afterEach(() => lab.node.output(["nft", "flush", "ruleset"]));

/** Tests that the agent starts, syncs, repairs and stops, and that connections get the right address. */
function works(where: string, binary: readonly string[], backend: string): void {
  const owner = (to: string) => lab.ownerSeen({ protocol: "tcp", to });

  test(where, async () => {
    const agent = RunningAgent.start(lab.node, [], binary);
    expect((await agent.log.until("rules applied")).join("\n")).toContain(`backend=${backend}`);
    expect(await owner("203.0.113.7")).toBe("node");
    expect(await owner("10.1.2.3")).toBe("pod");
    await lab.node.output(["nft", "flush", "ruleset"]);
    await agent.log.until("repaired");
    expect(await owner("203.0.113.7")).toBe("node");
    const status = await lab.node.output([...binary, "status"]);
    expect(status).toMatch(/^in force +yes, /); // the root has its own /run, without the agent's socket
    expect(await agent.end()).toBe(0);
  }, 60_000);
}
