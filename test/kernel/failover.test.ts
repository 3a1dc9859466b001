import { afterEach, beforeEach, expect, test } from "bun:test";
import { writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { save } from "../../lab/save.ts";
import { IptablesBackend } from "../../src/backends/iptables/backend.ts";
import { sync } from "../../src/backends/sync.ts";
import { Totals } from "../../src/observe/totals.ts";
import { IptablesCommands } from "../../src/xtables/commands.ts";
import { freshFolder, labPerFile } from "../lab.ts";
import { policy } from "../policies.ts";
import { programsOf } from "./backends-under-test.ts";
import { CrashingNft, type NftMode } from "./crashing-nft.ts";

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/failover";
const CONFIG = `${FOLDER}/ip-masq-agent`;

/** Kept by every config here, and by no config. */
const KEPT = "192.0.2.1";
const OUTBOUND = "198.51.100.7";

const lab = labPerFile();
let nft: CrashingNft;
const agents: RunningAgent[] = [];
beforeEach(async () => {
  await freshFolder(FOLDER);
  nft = await CrashingNft.create();
});
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent.end("SIGKILL");
  await lab.flushRules();
});

const run = (line: string) => lab.node.output(["sh", "-c", line]);
const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const keep = (...cidrs: string[]) =>
  save(CONFIG, `nonMasqueradeCIDRs: [192.0.2.0/24, ${cidrs.join(", ")}]\n`);
function start(...flags: string[]): RunningAgent {
  const agent = RunningAgent.start(
    lab.node,
    [`--config=${CONFIG}`, `--runtime-dir=${FOLDER}/run`, ...flags],
    [...nft.environment, BINARY],
  );
  agents.push(agent);
  return agent;
}

/** Waits for these verdicts. */
async function verdicts(expected: Readonly<Record<string, string>>): Promise<void> {
  const seen = async () =>
    Object.fromEntries(await Promise.all(Object.keys(expected).map(async to => [to, await owner(to)])));
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    if (Bun.deepEquals(await seen(), expected)) return;
  }
  expect(await seen()).toEqual({ ...expected });
}

test.each<NftMode>(["crash", "crash beside newer"])(
  "iptables replaces an nft that starts to %s, until nft works again",
  async mode => {
    await keep("10.0.0.0/8");
    const agent = start();
    await agent.log.until("policy in force");
    const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: 2000, seconds: 60 });
    await nft.become(mode);
    await keep("203.0.113.0/24");
    const moved = await agent.log.until("writes the rules because nft fails");
    expect(moved.at(-1)).toContain("iptables-nft writes the rules because nft fails: ");
    // The old table still exists and has the opposite verdicts.
    expect(await run("nft list table ip ip-masq-agent")).toContain("10.0.0.0/8");
    await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod" });
    // Changes are also found without nft monitor.
    await agent.log.until("203.0.113.0/24");
    await keep("203.0.113.0/24", "198.18.0.0/15");
    await agent.log.until("198.18.0.0/15");
    await verdicts({ "198.18.0.1": "pod" });
    const [kept, outbound] = await load.tally();
    expect([kept?.fromNode, kept?.other, outbound?.fromPod, outbound?.other]).toEqual([0, 0, 0, 0]);
    await run("iptables -t nat -F IP-MASQ-AGENT; iptables -t nat -F POSTROUTING");
    await agent.log.until("repaired");
    await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod" });

    await nft.become("ok");
    await load.tally();
    const before = await load.tally();
    await agent.log.until("nft writes the rules again");
    await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod", "198.18.0.1": "pod" });
    const after = await load.stop();
    expect(after.map(it => [it.fromPod, it.fromNode].map(it => it > 0))).toHaveLength(2);
    expect((after[0]?.fromNode ?? 0) - (before[0]?.fromNode ?? 0)).toBe(0);
    expect((after[1]?.fromPod ?? 0) - (before[1]?.fromPod ?? 0)).toBe(0);
    await agent.log.until("leftover rules removed");
    expect(await run("iptables-save -t nat")).not.toContain("MASQ-AGENT");
    expect(await agent.end()).toBe(0);
  },
  60_000,
);

test("iptables replaces an nft that crashes before its monitor listens", async () => {
  await keep("10.0.0.0/8");
  const agent = start();
  await agent.log.until("rules applied");
  for (let calls = await nft.calls(); !calls.includes("monitor"); calls = await nft.calls());
  await nft.become("crash");
  await run("nft delete table ip ip-masq-agent");
  await agent.log.until("writes the rules because nft fails");
  await verdicts({ "10.1.2.3": "pod", [OUTBOUND]: "node" });
  expect(await agent.end()).toBe(0);
}, 30_000);

test("the rules of an agent that starts beside a crashing nft decide despite its old table", async () => {
  await keep("10.0.0.0/8");
  const first = start();
  await first.log.until("policy in force");
  await first.end();
  await nft.become("crash");
  await keep("203.0.113.0/24");
  const second = start();
  await second.log.until("policy in force");
  await verdicts({ [KEPT]: "pod", [OUTBOUND]: "node", "10.1.2.3": "node", "203.0.113.7": "pod" });
  expect(await run("iptables-save -t nat")).toContain("-j NETMAP --to 0.0.0.0/0");
  expect(await second.end()).toBe(0);
}, 30_000);

test("the agent notices that the table of a crashing nft is gone", async () => {
  await keep("10.0.0.0/8");
  await nft.become("crash beside newer");
  const agent = start();
  await agent.log.until("policy in force");
  await verdicts({ "10.1.2.3": "pod", [OUTBOUND]: "node" });
  expect(await run("iptables-save -t nat")).not.toContain("NETMAP");
  expect(await agent.end()).toBe(0);
}, 30_000);

test("counts stay right if iptables cannot bind kept connections", async () => {
  const refusing =
    'input=$(cat); case "$input" in *NETMAP*) exit 1 ;; esac; echo "$input" | iptables-nft-restore "$@"';
  const programs = programsOf(lab);
  const argv = (name: string) =>
    name === "iptables-nft-restore" ? lab.node.command(["sh", "-c", refusing, name]) : programs.argv(name);
  const backend = new IptablesBackend(
    new IptablesCommands("iptables-nft", "-nft", true, { ...programs, argv }),
  );
  const totals = new Totals();
  await sync(backend, policy(), { tally: totals });
  await lab.connect({ protocol: "udp", to: "10.1.2.3" });
  backend.enforceKept(true);
  await sync(backend, policy(), { tally: totals });
  expect(backend.enforcesKept).toBe(false);
  expect(totals.byVerdict.keep.connections).toBe(1);
});

test("with --backend=nftables no other backend writes, and the log says why the rules do not change", async () => {
  await keep("10.0.0.0/8");
  const agent = start("--backend=nftables");
  await agent.log.until("policy in force");
  await nft.become("crash");
  await keep("203.0.113.0/24");
  expect((await agent.log.until("sync failed")).at(-1)).toContain("crashed");
  expect(await run("iptables-save -t nat")).not.toContain("MASQ-AGENT");
  await nft.become("ok");
  await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod" });
  expect(await agent.end()).toBe(0);
}, 30_000);

test("iptables writes rules that nft refuses repeatedly", async () => {
  await keep("10.0.0.0/8");
  const agent = start("--resync-interval=1s");
  await agent.log.until("policy in force");
  await nft.become("fail");
  await keep("203.0.113.0/24");
  await agent.log.until("writes the rules because nft fails");
  await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod" });
  expect(await agent.end()).toBe(0);
}, 30_000);

test.each(["iptables-nft", "iptables-legacy"])(
  "%s finds a flush within two seconds without nft monitor",
  async variant => {
    await keep("10.0.0.0/8");
    await run(`${variant} -t mangle -N KUBE-IPTABLES-HINT`);
    await nft.become("crash");
    const agent = start("--backend=iptables");
    await agent.log.until("policy in force");
    for (let i = 0; i < 3; i++) {
      await run(`${variant} -t nat -F`);
      const began = performance.now();
      await verdicts({ [OUTBOUND]: "node", "10.1.2.3": "pod" });
      expect(performance.now() - began).toBeLessThan(4000);
    }
    await run(`${variant} -t mangle -X`);
    expect(await agent.end()).toBe(0);
  },
  30_000,
);

test("status answers while nft hangs", async () => {
  await keep("10.0.0.0/8");
  const agent = start("--backend=iptables");
  await agent.log.until("rules applied");
  await nft.become("hang");
  const { stdout } = await lab.node.run([
    ...[BINARY, "status", "--output=json", "--listen=", "--config=/run/none"],
    `--runtime-dir=${FOLDER}/run`,
  ]);
  expect(JSON.parse(stdout)).toMatchObject({ from: "agent", inSync: true, backend: "iptables" });
});

test("iptables replaces a hanging nft, which then delays no writes", async () => {
  await keep("10.0.0.0/8");
  const agent = start();
  await agent.log.until("policy in force");
  await nft.become("hang");
  await keep("203.0.113.0/24");
  expect((await agent.log.until("writes the rules because nft fails")).at(-1)).toContain(
    "did not end within",
  );
  await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod" });
  await agent.log.until("policy in force");
  // Until nft is tried again, and then twice more while that call hangs.
  const { length } = await nft.calls();
  for (let more = 2; more > 0; ) {
    await Bun.sleep(200);
    if ((await nft.calls()).length > length) more--;
    await run("iptables -t nat -F IP-MASQ-AGENT");
    await verdicts({ "10.1.2.3": "node", "203.0.113.7": "pod" });
  }
  const began = performance.now();
  expect(await agent.end()).toBe(0);
  expect(performance.now() - began).toBeLessThan(3000);
}, 90_000);

test("without IPv6, polling still finds changes of IPv4", async () => {
  await keep("10.0.0.0/8");
  await run("iptables-legacy -t mangle -N KUBE-IPTABLES-HINT");
  for (const program of ["ip6tables-legacy", "ip6tables-legacy-save", "ip6tables-legacy-restore"]) {
    const script = "#!/bin/sh\necho 'Address family not supported by protocol' >&2\nexit 1\n";
    await writeFile(`${nft.folder}/${program}`, script, { mode: 0o755 });
  }
  const agent = start("--backend=iptables", "--enable-ipv6");
  await agent.log.until("policy in force");
  for (let i = 0; i < 2; i++) {
    await run("iptables-legacy -t nat -F");
    await verdicts({ [OUTBOUND]: "node", "10.1.2.3": "pod" });
  }
  await run("iptables-legacy -t mangle -X");
  expect(await agent.end()).toBe(0);
}, 40_000);
