import { beforeEach, describe, expect, test } from "bun:test";
import { chmod, chown, mkdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { save } from "../../lab/save.ts";
import { WRITERS } from "../../lab/writers.ts";
import { labPerTest } from "../lab.ts";

/** lab/isolate mounts an empty /run. */
const FOLDER = "/run/lock";
const RUNTIME = "/run/ipmasq";
const STANDS_BY = "standing by: another agent is active on this node";

const lab = labPerTest();
beforeEach(async () => {
  for (const folder of [FOLDER, RUNTIME]) await rm(folder, { recursive: true, force: true });
  await mkdir(FOLDER);
});

const start = (config: string, ...flags: string[]) =>
  RunningAgent.start(lab.node, [`--config=${FOLDER}/${config}`, ...flags]);
const owner = (to: string) => lab.ownerSeen({ protocol: "udp", to });
const rules = () =>
  lab.node.output(["sh", "-c", "nft -as list ruleset; iptables-legacy-save -t nat | grep -v ^#"]);
const ipmasq = (...words: string[]) => lab.node.run([BINARY, ...words]);
const said = (lines: readonly string[]) => lines.map(line => line.replace(/^\S+ /, ""));

const [nftables, byNft, byLegacy] = WRITERS;
test.each([
  [nftables, nftables],
  [nftables, byNft],
  [byNft, nftables],
  [byLegacy, byLegacy],
])(
  "a second agent with another config stands by until the first ends (%#)",
  async (one, two) => {
    await keep("first", "10.0.0.0/8");
    await keep("second", "203.0.113.0/24");
    await one?.prepare(lab);
    const first = start("first", ...(one?.flags ?? []));
    await first.log.until("policy in force");
    const before = await rules();
    const second = start("second", ...(two?.flags ?? []));
    expect((await second.log.until(STANDS_BY)).at(-1)).toMatch(
      / \(pid \d+, ipmasq \d+\.\d+\.\d+, since \S+Z\); remove one of the two$/,
    );
    // Two active agents would change each other's rules during this time.
    second.program.kill("SIGHUP");
    const once = await ipmasq("run", "--once", `--config=${FOLDER}/second`, ...(two?.flags ?? []));
    expect(once).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining(`ERROR sync failed error="another agent is active on this node (pid `),
    });
    expect(await rules()).toBe(before);
    await first.end("SIGKILL");
    await second.log.until("the other agent ended; this agent is active now");
    await second.log.until("policy in force");
    expect([await owner("10.1.2.3"), await owner("203.0.113.7")]).toEqual(["node", "pod"]);
    expect(await second.end()).toBe(0);
    expect((await first.log.all()).filter(line => line.includes("WARN"))).toEqual([]);
  },
  20_000,
);

test("a standby agent is alive, not ready, and ends at once", async () => {
  const first = start("none");
  await first.log.until("policy in force");
  const other = start("none", "--listen=127.0.0.1:9470");
  await other.log.until("serving metrics and health");
  const get = (path: string) =>
    lab.node.output([process.execPath, "-e", ASK, `http://127.0.0.1:9470${path}`]);
  expect(await get("/healthz")).toBe("ok\n");
  expect(await get("/readyz")).toStartWith("another agent is active on this node (pid ");
  expect(await get("/")).toContain("another agent is active on this node");
  expect(await other.end()).toBe(0);
});

test("agents of different network namespaces are active at the same time", async () => {
  const first = start("none");
  const other = RunningAgent.start(lab.inside, [`--config=${FOLDER}/none`]);
  await first.log.until("policy in force");
  await other.log.until("policy in force");
  expect([await first.end(), await other.end()]).toEqual([0, 0]);
});

test("an agent that never had a valid config lets another one become active, and then stands by", async () => {
  await writeFile(`${FOLDER}/first`, "cidrLimit: 0\n");
  const first = start("first");
  await first.log.until("config rejected, no rules are written");
  await keep("second", "203.0.113.0/24");
  const second = start("second");
  await second.log.until("policy in force");
  await keep("first", "10.0.0.0/8");
  await first.log.until(STANDS_BY);
  expect(await owner("203.0.113.7")).toBe("pod");
  expect(await first.end()).toBe(0);
});

test("an active agent that lost its lock to another one stands by", async () => {
  await keep("first", "10.0.0.0/8");
  await keep("second", "203.0.113.0/24");
  const first = start("first");
  await first.log.until("policy in force");
  first.program.kill("SIGSTOP"); // otherwise it could notice the loss first and take the lock again
  await rm(RUNTIME, { recursive: true });
  const second = start("second");
  await second.log.until("policy in force");
  first.program.kill("SIGCONT");
  first.program.kill("SIGHUP");
  await first.log.until(STANDS_BY);
  expect(await owner("203.0.113.7")).toBe("pod");
  expect(await first.end()).toBe(0);
  expect((await ipmasq("status", "--listen=")).stdout).toContain("203.0.113.0/24");
});

describe("--cleanup-on-exit keeps the rules of the active agent", () => {
  test.each([
    ["one that stands by", "cidrLimit: 5\n", STANDS_BY],
    ["one whose config was never right", "cidrLimit: 0\n", "config rejected, no rules are written"],
  ])("%s", async (_who, config, until) => {
    const first = start("none");
    await first.log.until("policy in force");
    const before = await rules();
    await writeFile(`${FOLDER}/second`, config);
    const second = start("second", "--cleanup-on-exit");
    await second.log.until(until);
    expect(await second.end()).toBe(0);
    expect(said(await second.log.all())).toEqual([
      "INFO  rules kept: this agent is not active or never had a policy in force",
      "INFO  agent stopped",
    ]);
    expect(await rules()).toBe(before);
  });

  test("by an agent that lost its lock to another one", async () => {
    const first = start("none", "--cleanup-on-exit");
    await first.log.until("policy in force");
    first.program.kill("SIGSTOP");
    await rm(RUNTIME, { recursive: true });
    const second = start("none");
    await second.log.until("policy in force");
    first.program.kill("SIGTERM");
    first.program.kill("SIGCONT");
    expect(await first.program.exited).toBe(0);
    expect((await first.log.all()).join("\n")).toContain("rules kept");
    expect(await owner("203.0.113.7")).toBe("node");
  });
});

describe("cleanup", () => {
  test("refuses while an agent is active and names it", async () => {
    const agent = start("none");
    await agent.log.until("policy in force");
    const before = await rules();
    const refused = await ipmasq("cleanup");
    expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
    expect(refused.stderr).toMatch(
      /^ipmasq: an agent is active on this node \(pid \d+, ipmasq \S+, since \S+Z\); stop it first, or use --force\n$/,
    );
    const dry = await ipmasq("cleanup", "--dry-run");
    expect(dry.exitCode).toBe(0);
    expect(dry.stdout).toStartWith("would remove from ip, by nft:\n  table ip ip-masq-agent {\n");
    expect(await rules()).toBe(before);
    const forced = await ipmasq("cleanup", "--force");
    expect(forced).toMatchObject({ exitCode: 0, stdout: "removed table ip ip-masq-agent\n" });
    await agent.log.until("repaired");
    expect(await agent.end()).toBe(0);
    expect(await ipmasq("cleanup")).toEqual({
      exitCode: 0,
      stdout: "removed table ip ip-masq-agent\n",
      stderr: "",
    });
  });

  test("and status do not hang if the active agent hangs", async () => {
    const agent = start("none");
    await agent.log.until("policy in force");
    agent.program.kill("SIGSTOP");
    const began = performance.now();
    const [refused, status] = await Promise.all([ipmasq("cleanup"), ipmasq("status", "--listen=")]);
    expect(refused.exitCode).toBe(1);
    expect(refused.stderr).toMatch(/\(pid \d+, which does not answer\)/);
    expect(status.stdout).toContain("it was not complete within 3 s");
    const second = start("none");
    await second.log.until("which does not answer");
    expect(performance.now() - began).toBeLessThan(10_000);
    agent.program.kill("SIGKILL");
    await second.log.until("this agent is active now");
  }, 20_000);
});

test("status asks the active agent over the socket", async () => {
  await keep("first", "203.0.113.0/24");
  const agent = start("first");
  await agent.log.until("policy in force");
  const status = await ipmasq("status", "--listen=", "--output=json", "--config=/run/none");
  expect(JSON.parse(status.stdout)).toMatchObject({ from: "agent", inSync: true, config: `${FOLDER}/first` });
});

test("an ordinary user gets the remedy to run as root", async () => {
  if (process.env.LAB_USER) return;
  await mkdir(RUNTIME, { mode: 0o700 });
  const ordinary = ["setpriv", "--reuid=65534", "--clear-groups", BINARY, "run", "--once"];
  const { stderr } = await lab.node.run(ordinary);
  expect(said(stderr.split("\n"))).toContain(
    `WARN  no node lock: a second agent on this node would not stand by directory=${RUNTIME} error="it belongs to user 0" remedy="run as root, or set --runtime-dir to a directory of this user"`,
  );
});

describe("without a usable runtime directory", () => {
  test.each([
    ["others can write to it", () => mkdir(RUNTIME).then(() => chmod(RUNTIME, 0o777))],
    ["it belongs to user 65534", () => mkdir(RUNTIME).then(() => chown(RUNTIME, 65534, 65534))],
    ["it is not a directory", () => mkdir(`${FOLDER}/x`).then(() => symlink(`${FOLDER}/x`, RUNTIME))],
    ["it is not a directory", () => writeFile(RUNTIME, "")],
  ])("the agent has no lock, which it logs once: %s", async (why, prepare) => {
    if (process.env.LAB_USER && why.includes("65534")) return;
    await prepare();
    await keep("first", "10.0.0.0/8");
    const agent = start("first");
    const lines = await agent.log.until("policy in force");
    const warnings = lines.filter(line => line.includes("WARN"));
    expect(said(warnings)).toEqual([
      expect.stringMatching(
        new RegExp(`^WARN {2}no node lock: .* directory=${RUNTIME} error="${why}" remedy=`),
      ),
    ]);
    agent.program.kill("SIGHUP");
    expect(await agent.end()).toBe(0);
    expect(await agent.log.all()).toEqual([expect.stringContaining("agent stopped")]);
    expect(await Bun.file(`${FOLDER}/x/agent.lock`).exists()).toBe(false);
  });
});

const UNPRIVILEGED = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

describe("an unprivileged process", () => {
  test("with the old socket name and the HTTP port does not stop an agent from becoming active", async () => {
    if (process.env.LAB_USER) return; // this user namespace has only one user
    const take = `Bun.listen({ unix: "\\0ipmasq", socket: { data() {} } });
      Bun.serve({ port: 9469, hostname: "127.0.0.1", fetch: () => new Response("ok") }); console.log("taken")`;
    const other = lab.node.spawn([...UNPRIVILEGED, process.execPath, "-e", take]);
    await other.stdout.getReader().read();
    await keep("first", "203.0.113.0/24");
    const agent = start("first", "--listen=127.0.0.1:9469");
    await agent.log.until("policy in force");
    expect(await owner("203.0.113.7")).toBe("pod");
    // `status` does not believe the answer from the port.
    expect((await ipmasq("status")).stdout).toContain("203.0.113.0/24");
    expect(await agent.end()).toBe(0);
  });

  test("cannot take the lock, block it for an agent, or answer instead of the agent", async () => {
    if (process.env.LAB_USER) return;
    const agent = start("none");
    await agent.log.until("policy in force");
    const { mode } = await stat(RUNTIME);
    expect(mode & 0o777).toBe(0o700);
    const ways = [
      `flock --nonblock ${RUNTIME}/agent-*.lock true`,
      `rm -r ${RUNTIME}`,
      `mv ${RUNTIME} /run/away`,
      `mkdir ${RUNTIME}/x`,
      `ln -s /tmp ${RUNTIME}/agent.sock`,
    ];
    // Kubelet creates the directory with this mode, which lets other users read it.
    const ask = `Bun.connect({ unix: process.argv.at(-1), socket: { data() {} } }).then(() => process.exit(0), () => process.exit(1))`;
    ways.push(`${process.execPath} -e '${ask}' ${RUNTIME}/agent-*.sock`);
    await chmod(RUNTIME, 0o755);
    for (const way of ways) {
      const { exitCode } = await lab.node.run([...UNPRIVILEGED, "sh", "-c", way]);
      expect([way, exitCode === 0]).toEqual([way, false]);
    }
    expect((await lab.node.run(["sh", "-c", ways.at(-1) ?? ""])).exitCode).toBe(0); // works for root
    // With another runtime directory, a process has another lock, but still no permission to write rules.
    await mkdir(`${FOLDER}/own`);
    await chown(`${FOLDER}/own`, 65534, 65534);
    const own = [...UNPRIVILEGED, BINARY, "run", "--once", `--runtime-dir=${FOLDER}/own`];
    expect((await lab.node.run(own)).exitCode).toBe(1);
    expect((await ipmasq("cleanup")).stderr).toContain("an agent is active on this node");
    expect(await agent.end()).toBe(0);
  });
});

/** A program that takes the lock as an agent does, and prints that it did. */
const CONTENDER = `
  import { NodeLock } from "${import.meta.dir}/../../src/agent/node-lock.ts";
  const log = { error() {}, warn: console.error, info() {}, debug() {} };
  const lock = new NodeLock("${RUNTIME}", log, { "/agent": () => ({ version: "1", since: "" }) });
  lock.onFree = () => console.log("active");
  try { await lock.take(); lock.onFree(); } catch {}
  setInterval(() => {}, 1000);
`;

test("of 20 agents that start together and are killed, one is active at any time, and soon after each kill", async () => {
  await writeFile(`${FOLDER}/contender.ts`, CONTENDER);
  const alive = new Set<Bun.Subprocess>();
  let active: Bun.Subprocess | undefined;
  let next = Promise.withResolvers<void>();
  const contend = () => {
    const contender = lab.node.spawn([process.execPath, `${FOLDER}/contender.ts`]);
    alive.add(contender);
    void contender.stdout
      .getReader()
      .read()
      .then(({ done }) => {
        if (done) return;
        if (active) next.reject(new Error(`${contender.pid} is active beside ${active.pid}`));
        active = contender;
        next.resolve();
      });
  };
  for (let i = 0; i < 20; i++) contend();
  await next.promise;
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    const began = performance.now();
    const killed = i % 5 === 4 ? [...alive].slice(0, 5) : active ? [active] : [];
    if (active && !killed.includes(active)) killed.push(active);
    next = Promise.withResolvers();
    active = undefined;
    for (const contender of killed) {
      alive.delete(contender);
      contender.kill("SIGKILL");
    }
    for (const _ of killed) contend();
    await next.promise;
    waits.push(performance.now() - began);
  }
  await Bun.sleep(600); // every other agent has checked the lock once more
  await next.promise;
  expect(Math.max(...waits)).toBeLessThan(2000);
}, 60_000);

/** A program for `bun -e` that prints the response from a URL. */
const ASK = "process.stdout.write(await (await fetch(process.argv.at(-1))).text())";

function keep(name: string, cidr: string): Promise<void> {
  return save(`${FOLDER}/${name}`, `nonMasqueradeCIDRs: [${cidr}]\n`);
}
