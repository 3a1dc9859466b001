import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { connect } from "node:net";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { output } from "../../lab/output.ts";
import { save } from "../../lab/save.ts";
import { run } from "../../src/system/program.ts";
import { HttpClients } from "../http-clients.ts";
import { freshFolder } from "../lab.ts";
import { describeTools } from "./backends-under-test.ts";

/** lab/isolate mounts an empty /run. The agent runs in the namespace of lab/isolate itself. */
const CONFIG = "/run/health/ip-masq-agent";
const TOOLS = "/run/health/tools";
const ONLY_TOOLS = ["env", `PATH=${TOOLS}`];

let agent: Bun.Subprocess<"ignore", "ignore", "pipe">;
let log: Lines;

beforeEach(() => freshFolder("/run/health"));
afterEach(async () => {
  agent.kill("SIGKILL");
  await agent.exited;
  await output(["nft", "flush", "ruleset"]);
});

/**
 * Starts the agent and returns its URL.
 *
 * @param through a command that runs the command after it
 */
async function start(through: readonly string[] = []): Promise<string> {
  agent = Bun.spawn([...through, BINARY, `--config=${CONFIG}`, "--listen=127.0.0.1:0"], {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  log = new Lines(agent.stderr);
  const [serving = ""] = (await log.until("serving metrics and health")).slice(-1);
  return `http://${/listen=(\S+)/.exec(serving)?.[1]}`;
}

/** Makes one nft the only program in the agent's PATH. */
async function provide(nft: string): Promise<void> {
  await save(`${TOOLS}/nft`, `#!/bin/sh\nexec ${nft} "$@"\n`, 0o755);
}

/** The state of config and kernel in the agent's answers. */
async function state(url: string) {
  const ready = await fetch(`${url}/readyz`);
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const value = (name: string) => Number(new RegExp(`^ipmasq_${name} (\\S+)$`, "m").exec(metrics)?.[1]);
  return {
    ready: [ready.status, (await ready.text()).trim()],
    accepted: value("config_last_reload_successful"),
    inSync: value("kernel_in_sync"),
    hash: value("config_hash"),
    cidrs: value("config_cidrs"),
    page: await (await fetch(`${url}/`)).text(),
  };
}

type State = Awaited<ReturnType<typeof state>>;

/** The same, once it has the expected values: responses can be a second old. */
async function stateWith(url: string, isSo: (now: State) => boolean): Promise<State> {
  let now = await state(url);
  await until(async () => {
    now = await state(url);
    return isSo(now);
  });
  return now;
}

test("readiness, metrics, page and log agree when a config becomes invalid and valid again", async () => {
  await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8]\n");
  const url = await start();
  const before = await state(url);
  expect(before).toMatchObject({ ready: [200, "ok"], accepted: 1, inSync: 1, cidrs: 2 });
  const rules = await output(["nft", "list", "ruleset"]);

  await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.1/8]\n");
  const problem = `${CONFIG}:1:22: nonMasqueradeCIDRs[0]: "10.0.0.1/8" has host bits set; did you mean "10.0.0.0/8"?`;
  const said = await log.until("config rejected, last good policy stays active");
  expect(said.filter(line => line.includes(problem))).toHaveLength(1);
  const wrong = await stateWith(url, it => it.accepted === 0 && it.page.includes("the config is rejected"));
  expect(wrong).toMatchObject({ ready: [200, "ok"], accepted: 0, inSync: 1, cidrs: 2 });
  expect(wrong.hash).not.toBe(before.hash);
  expect(wrong.page).toContain(Bun.escapeHTML(problem));
  expect(await output(["nft", "list", "ruleset"])).toBe(rules);

  await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\n");
  await log.until("rules applied");
  expect(await stateWith(url, it => it.cidrs === 3)).toMatchObject({
    ready: [200, "ok"],
    accepted: 1,
    inSync: 1,
  });
});

test("an agent that never had a valid config is alive, but not ready", async () => {
  await save(CONFIG, "cidrLimit: no\n");
  const url = await start();
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(await state(url)).toMatchObject({
    ready: [503, "no valid config yet"],
    accepted: 0,
    inSync: 0,
    cidrs: 0,
  });
  expect(await output(["nft", "list", "ruleset"])).toBe("");
});

test("an agent without nft and iptables reports it, and starts to work once one is installed", async () => {
  await mkdir(TOOLS);
  const url = await start(ONLY_TOOLS);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  const before = await state(url);
  const why = "neither iptables nor nft is installed; install nftables or iptables";
  expect(before).toMatchObject({ ready: [503, why], accepted: 0, inSync: 0 });
  expect(before.page).toContain(`<dd>${why}</dd>`);
  await provide("/usr/sbin/nft");
  agent.kill("SIGHUP");
  await log.until("rules applied");
  expect(await stateWith(url, it => it.inSync === 1)).toMatchObject({ ready: [200, "ok"], accepted: 1 });
});

test("an agent without CAP_NET_ADMIN logs the missing capability once and is not ready", async () => {
  const url = await start(["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"]);
  expect(await state(url)).toMatchObject({
    ready: [503, expect.stringMatching(/not permitted.*; run as root, or with the capability NET_ADMIN$/)],
    accepted: 1,
    inSync: 0,
  });
  const again = 'ipmasq_syncs_total{trigger="signal",result="failed"}';
  await until(async () => {
    agent.kill("SIGHUP"); // one that arrives with another trigger does not count as a signal
    await Bun.sleep(200);
    return (await (await fetch(`${url}/metrics`)).text()).includes(again);
  });
  agent.kill("SIGTERM");
  // start() has read the line of the sync; the search for conflicts logs one too.
  const lines = (await log.all()).filter(line => line.includes("NET_ADMIN"));
  expect(lines.filter(line => !line.includes("cannot read some foreign rules"))).toEqual([]);
});

test("an agent whose sync hangs ends within a second and leaves no monitor running", async () => {
  await mkdir(TOOLS);
  await provide("/usr/sbin/nft");
  await start(["env", `PATH=${TOOLS}:/usr/bin:/bin`]);
  const [monitor = 0] = await childrenOf(agent.pid);
  expect(await readFile(`/proc/${monitor}/cmdline`, "utf8")).toContain("monitor");
  await provide("/usr/bin/sleep 5; true");
  agent.kill("SIGHUP");
  await until(async () => (await childrenOf(agent.pid)).length > 1);
  agent.kill("SIGTERM");
  expect(await agent.exited).toBe(0);
  await until(async () => !existsSync(`/proc/${monitor}`));
});

test("the agent names a program that keeps removing its rules, and slows down repairs", async () => {
  const url = await start();
  let named: string[] | undefined;
  void log.until("rules are contested").then(lines => {
    named = lines;
  });
  while (!named) {
    await until(async () => (await output(["nft", "list", "ruleset"])).includes("masquerade"));
    await Bun.sleep(50); // if the rules are deleted before they are verified, the sync fails instead
    await run(["nft", "delete table ip ip-masq-agent"]);
  }
  expect(named.at(-1)).toMatch(/ by="nft \(pid \d+\)" repairs=\d+$/);
  expect(named.filter(line => line.includes("repaired")).length).toBeWithin(1, 6);
  expect(await (await fetch(`${url}/metrics`)).text()).toContain("ipmasq_rules_contested 1\n");
  await until(async () => (await output(["nft", "list", "ruleset"])).includes("masquerade"));
}, 20_000);

test("SIGTERM while the first sync hangs ends the agent and nft at once; a second one has no effect", async () => {
  await mkdir(TOOLS);
  await provide("/usr/bin/sleep 60; true");
  agent = Bun.spawn(["env", `PATH=${TOOLS}:/usr/bin:/bin`, BINARY, `--config=${CONFIG}`], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  log = new Lines(agent.stderr);
  await until(async () => (await childrenOf(agent.pid)).length > 0);
  await log.until("agent started");
  const before = performance.now();
  const children = await childrenOf(agent.pid);
  for (let i = 0; i < 3; i++) agent.kill("SIGTERM");
  expect(await agent.exited).toBe(0);
  await until(async () => children.every(pid => !existsSync(`/proc/${pid}`)));
  expect(performance.now() - before).toBeLessThan(1000);
  expect((await log.all()).at(-1)).toEndWith("INFO  agent stopped");
});

test("frequent SIGHUPs without nft and iptables cause only retries", async () => {
  await mkdir(TOOLS);
  const url = await start(ONLY_TOOLS);
  const tries = async () => {
    const metrics = await (await fetch(`${url}/metrics`)).text();
    return Number(/^ipmasq_syncs_total\{trigger="start",result="failed"\} (\d+)$/m.exec(metrics)?.[1]);
  };
  await until(async () => {
    agent.kill("SIGHUP");
    return (await tries()) >= 20;
  });
  agent.kill("SIGTERM");
  expect(await agent.exited).toBe(0);
  const said = (await log.all()).map(line => line.replace(/^\S+ /, ""));
  expect(said).toEqual(["INFO  agent stopped"]);
});

test("a conflict is logged once and counted", async () => {
  const theirs = "add table ip theirs; add chain ip theirs c { type nat hook postrouting priority 90; }";
  await output(["nft", `${theirs}; add rule ip theirs c ip daddr 10.1.0.0/16 masquerade`]);
  const url = await start();
  const [warning = ""] = (
    await log.until("a foreign rule masquerades connections that the policy keeps")
  ).slice(-1);
  expect(warning).toContain(
    'owner=unknown rule="ip daddr 10.1.0.0/16 masquerade" table="ip theirs" chain=c exposes=10.0.0.0/8',
  );
  const metrics = async () => await (await fetch(`${url}/metrics`)).text();
  expect(await metrics()).toContain("ipmasq_conflicts 1\n");
  await output(["nft", "delete table ip theirs"]);
  const { conflicts } = (await (await fetch(`${url}/status`)).json()) as { conflicts: unknown[] };
  expect(conflicts).toEqual([]);
  await until(async () => (await metrics()).includes("ipmasq_conflicts 0\n"));
});

test("clients that use all connections do not stop the agent", async () => {
  const url = await start(["prlimit", "--nofile=100"]);
  const flood = Array.from({ length: 150 }, () => {
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    socket.on("error", () => {});
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n");
    return socket;
  });
  // The agent closes surplus connections, some before the client sees them as connected.
  await Promise.all(
    flood.map(socket => new Promise(resolve => socket.once("connect", resolve).once("close", resolve))),
  );
  await output(["nft", "flush", "ruleset"]);
  const said = await log.until("repaired");
  expect(said.filter(line => line.includes("failed"))).toEqual([]);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  for (const socket of flood) socket.destroy();
}, 20_000);

test("a thousand clients that read nothing delay neither repairs nor probes, and cost little memory", async () => {
  const list = Array.from({ length: 2000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  await save(CONFIG, `cidrLimit: 2000\nnonMasqueradeCIDRs: [${list.join(", ")}]\n`);
  const url = await start();
  const memory = async (name: string) => {
    const status = await readFile(`/proc/${agent.pid}/status`, "utf8");
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
  };
  const before = await memory("VmHWM");
  const clients = await Promise.all(
    (["request /metrics", "request /status"] as const).map(kind =>
      HttpClients.start(Number(new URL(url).port), 500, kind),
    ),
  );
  await output(["nft", "flush", "ruleset"]);
  for (let i = 0; i < 20; i++) {
    const asked = performance.now();
    const { status } = await fetch(`${url}/healthz`, { keepalive: false });
    expect([status, performance.now() - asked < 1000]).toEqual([200, true]);
  }
  await log.until("repaired");
  expect((await memory("VmHWM")) - before).toBeLessThan(32 * 1024);
  await Promise.all(clients.map(it => it.stop()));
}, 20_000);

describeTools("an nft that is replaced while the agent runs", ["bullseye", "trixie"], tools => {
  const [old = "", newer = ""] = tools.map(({ nft }) => nft.join(" "));

  test("is used at once, unless it is too old", async () => {
    await mkdir(TOOLS);
    await provide("/usr/sbin/nft");
    const url = await start(ONLY_TOOLS);
    await provide(newer);
    await save(CONFIG, "nonMasqueradeCIDRs: [10.0.0.0/8]\n");
    await log.until("policy in force");
    expect(await state(url)).toMatchObject({ ready: [200, "ok"], inSync: 1 });

    const rules = await output(["nft", "list", "ruleset"]);
    await provide(old);
    await save(CONFIG, "nonMasqueradeCIDRs: [192.0.2.0/24]\n");
    await log.until("version 0.9.8 is too old; install nft 1.0.2 or later");
    expect((await state(url)).ready[0]).toBe(503);
    expect(await output(["nft", "list", "ruleset"])).toBe(rules);

    await provide("/usr/sbin/nft");
    agent.kill("SIGHUP");
    await log.until("sync works again");
    await log.until("policy in force");
    expect((await state(url)).ready).toEqual([200, "ok"]);
  });
});

/** The child processes of a process, in the order of their start. */
async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const lists = threads.map(thread => readFile(`/proc/${pid}/task/${thread}/children`, "utf8"));
  return (await Promise.all(lists)).join(" ").split(" ").filter(Boolean).map(Number);
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await Bun.sleep(5);
}
