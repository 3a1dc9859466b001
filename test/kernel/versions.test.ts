import { afterEach, expect, test } from "bun:test";
import { mkdtemp, writeFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { output } from "../../lab/output.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { renderJson } from "../../src/backends/nftables/nftables.ts";
import { sync } from "../../src/backends/sync.ts";
import { labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { describeTools } from "./backends-under-test.ts";
import { nftOf, tryPair } from "./pairs.ts";

const one = policy(
  {
    keep: ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"],
    masquerade: ["10.96.0.0/12"],
    sources: ["10.244.0.0/16", "::/1"],
    spared: ["10.244.7.0/24", "fd00:10:244:7::/64"],
    interfaces: ["eth0", "eth1*"],
  },
  {
    enableIPv6: true,
    toPorts: [
      { first: 1024, last: 29_999 },
      { first: 32_768, last: 65_535 },
    ],
  },
);
const other = policy({ keep: ["10.0.0.0/8", "2001:db8::/32"] }, { enableIPv6: true });

const lab = labPerFile();
afterEach(() => lab.node.output(["nft", "flush", "ruleset"]));

describeTools("nft that is too old", ["bullseye"], ([tooOld]) => {
  const backend = () => new NftablesBackend(lab.node.command(tooOld?.nft ?? []));
  const refusal = "nft: version 0.9.8 is too old; install nft 1.0.2 or later";

  test("is refused, and rules of another nft stay", async () => {
    await expect(sync(backend(), one)).rejects.toThrow(refusal);
    expect(await list()).toBe("");
    await sync(new NftablesBackend(lab.node.command(["nft"])), one);
    const before = await list();
    await expect(sync(backend(), other)).rejects.toThrow(refusal);
    await expect(backend().remove()).rejects.toThrow(refusal);
    expect(await list()).toBe(before);
  });

  test("does not prevent the use of iptables", async () => {
    const path = `PATH=${tooOld?.wrapper}:${process.env.PATH}`;
    const ipmasq = (...words: string[]) => lab.node.run(["env", path, BINARY, ...words]);
    const chain = () => lab.node.run(["iptables-nft", "-t", "nat", "-S", "IP-MASQ-AGENT"]);
    expect(await ipmasq("run", "--once")).toMatchObject({ exitCode: 0, stdout: "" });
    expect((await chain()).stdout).toContain("-j MASQUERADE --random-fully");
    expect((await ipmasq("status")).stdout).toStartWith("in force      yes, but no agent answers\n");
    expect((await ipmasq("cleanup")).exitCode).toBe(0);
    expect((await chain()).exitCode).toBe(1);
  });
});

const ours = /v(\d\S*)/.exec(await output(["nft", "--version"]))?.[1] ?? "";

describeTools("nft of several versions on one node", ["bullseye", "trixie", "forky"], tools => {
  const all = [{ suite: "this machine", nft: ["nft"], version: ours }, ...tools];
  const pairs = all
    .filter(({ suite }) => suite !== "bullseye")
    .flatMap(writer => all.filter(it => it !== writer).map(reader => ({ writer, reader })));

  test.each(pairs)("nft of $reader.suite reads the rules of nft of $writer.suite", ({ writer, reader }) =>
    tryPair(
      lab,
      nftOf(writer),
      nftOf(reader),
      [one, other, one].map(it => [it, []]),
    ),
  );

  // kubernetes/kubernetes issue 136786: the tests above would fail if a set were declared by its type.
  test("old nft crashes if new nft declares a set by its type", async () => {
    const [tooOld, recent] = tools.map(({ nft }) => nft);
    await lab.node.output([...(recent ?? []), "-j", "-f", "-"], { input: renderJson(one) });
    expect((await lab.node.run([...(tooOld ?? []), "list", "ruleset"])).exitCode).toBe(139);
    await new NftablesBackend(lab.node.command(recent ?? [])).remove();
  });
});

describeTools("an nft that crashes beside a newer one", ["trixie"], ([tools]) => {
  /** A directory with only the nft of trixie, which reports version 1.0.6 if `older` is set. */
  async function folder(older: boolean): Promise<string> {
    const folder = await mkdtemp("/run/nft-");
    const script = `#!/bin/sh
case "$*" in *monitor* | *"-f "*) exec ${tools?.nft.join(" ")} "$@" ;; esac
said=$(${tools?.nft.join(" ")} "$@") || exit
echo "$said" | /usr/bin/sed 's/${tools?.version}/${older ? "1.0.6" : "&"}/'
`;
    await writeFile(`${folder}/nft`, script, { mode: 0o755 });
    await writeFile(`${folder}/config`, "nonMasqueradeCIDRs: [10.0.0.0/8]\n");
    return folder;
  }

  test.each([
    ["nftables", true],
    ["nftables", false],
    ["iptables", true],
    ["iptables", false],
  ])("appears in log and status with --backend=%s: %p", async (backend, named) => {
    const caution = "nft 1.0.6 crashes if a newer nft on this node declares a set by its type";
    const tools = await folder(named);
    const flags = [`--backend=${backend}`, `--config=${tools}/config`];
    const run = ["env", `PATH=${tools}`, BINARY];
    const agent = lab.node.spawn([...run, ...flags], { stderr: "pipe" });
    const log = new Lines(agent.stderr);
    const lines = await log.until("serving metrics");
    expect(lines.filter(line => line.includes(caution))).toHaveLength(named ? 1 : 0);
    for (const from of ["agent", "kernel"]) {
      const { stdout } = await lab.node.run([...run, "status", ...flags]);
      expect(stdout).toContain(from === "agent" ? "reported by   the agent on " : "kernel and config");
      expect(stdout.includes(`  ${caution}`)).toBe(named);
      agent.kill();
      await agent.exited;
    }
  });
});

test.each([
  policy(),
  one,
  other,
  policy({ file: '/etc/"quoted"', keep: ["10.0.0.0/8"] }),
  policy({ file: `/etc/${"long/".repeat(60)}config`, keep: ["10.0.0.0/8"] }),
])("nft loads its own listing of our rules (%#)", async desired => {
  const backend = new NftablesBackend(lab.node.command(["nft"]));
  await sync(backend, desired);
  const listed = await list();
  await backend.remove();
  await lab.node.output(["nft", "-f", "-"], { input: listed });
  expect((await backend.plan(desired)).inSync).toBe(true);
});

/** All rules on the node, with their handles. */
function list(): Promise<string> {
  return lab.node.output(["nft", "-a", "list", "ruleset"]);
}
