import { afterAll, afterEach, beforeEach, expect, test } from "bun:test";
import { readFile, rm, writeFile } from "node:fs/promises";
import { BINARY } from "../../../lab/agent.ts";
import { Lines } from "../../../lab/lines.ts";
import { output } from "../../../lab/output.ts";
import { Places } from "../../../lab/places.ts";
import { save } from "../../../lab/save.ts";
import { NftablesBackend } from "../../../src/backends/nftables/backend.ts";
import { loadConfig } from "../../../src/config/load.ts";
import { policyOf } from "../../../src/policy/policy.ts";
import { run } from "../../../src/system/program.ts";
import { HttpClients, type Kind } from "../../http-clients.ts";
import { freshFolder } from "../../lab.ts";
import { DEFAULT_FLAGS } from "../../policies.ts";
import type { Measured } from "../compatibility.ts";
import { keepResults } from "../compatibility.ts";
import { configs } from "./configs.ts";
import { ATTACKS, type Attack } from "./requests.ts";

const WHOLE = 1000;
const COUNT = Number(process.env.HOSTILE_CONFIGS ?? WHOLE);
/** The same seed generates the same configs. */
const SEED = Number(process.env.HOSTILE_SEED ?? Math.floor(Math.random() * 2 ** 31));
const all = configs(COUNT, SEED);

/** lab/isolate mounts an empty /run. The agent runs in the network namespace of lab/isolate itself. */
const FOLDER = "/run/hostile";
const CONFIG = `${FOLDER}/ip-masq-agent`;
const FLAGS = { ...DEFAULT_FLAGS, enableIPv6: true };
const MIB = 1024 * 1024;
/** The maximum CPU time per config, in seconds. */
const MOST_CPU = 1;
/** The maximum resident memory of the agent. */
const MOST_BYTES = 200 * MIB;

const measured: Measured[] = [];
let agent: Bun.Subprocess<"ignore", "ignore", "pipe"> | undefined;

beforeEach(() => freshFolder(FOLDER));
afterEach(async () => {
  agent?.kill("SIGKILL");
  await agent?.exited;
  agent = undefined;
  await output(["nft", "flush", "ruleset"]);
});
afterAll(async () => {
  if (measured.length === 6 && COUNT === WHOLE) await keepResults("hostile", measured);
});

test(`check of ${COUNT} configs (seed ${SEED}) never crashes, and costs little`, async () => {
  const places = new Places(2);
  const costs = await Promise.all(
    all.map(async (config, i) => {
      await places.take();
      const path = `${FOLDER}/${i}`;
      await writeFile(path, config);
      const child = Bun.spawn([BINARY, "check", "--enable-ipv6", `--config=${path}`], { stderr: "pipe" });
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      const exitCode = await child.exited;
      const cpu = Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6;
      places.give();
      expect([exitCode, stderr], `config ${i}, seed ${SEED}`).toEqual([exitCode === 0 ? 0 : 1, ""]);
      expect(stdout.length, `config ${i}, seed ${SEED}`).toBeWithin(1, 50_000);
      expect(cpu, `seconds of config ${i}, seed ${SEED}`).toBeLessThan(MOST_CPU);
      await rm(path);
      return { config: i, exitCode, cpu };
    }),
  );
  measured.push({
    title: "Configs in `check`",
    how: "Configs generated from a seed: nearly valid, truncated, in other encodings, or random bytes, up to 4.1 MiB. `check` runs once per config; it must exit with 0 or 1 and print nothing to standard error.",
    columns: ["configs", "seed", "valid", "highest CPU time"],
    rows: [
      [
        ...[COUNT, SEED, costs.filter(it => it.exitCode === 0).length].map(String),
        `${Math.max(...costs.map(it => it.cpu)).toFixed(2)} s`,
      ],
    ],
    raw: { slowest: costs.toSorted((a, b) => b.cpu - a.cpu).slice(0, 10) },
  });
}, 600_000);

test(`${COUNT} configs (seed ${SEED}) in a running agent: invalid ones change nothing, valid ones are applied`, async () => {
  await writeFile(CONFIG, "");
  const { pid, log } = await start();
  const backend = new NftablesBackend();
  /** Replaced sets, which no rule refers to, are removed later. */
  const ruleset = async () => {
    const tables = (await output(["nft", "-a", "list", "ruleset"])).split(/^(?=table )/m);
    return tables.map(table =>
      table.replaceAll(/^\tset (\S+) \{[\s\S]*?^\t\}\n\n?/gm, (set, name) =>
        table.includes(`@${name} `) ? set : "",
      ),
    );
  };
  let [right, most] = [0, 0];
  for (const [i, config] of all.entries()) {
    const [before, cpu] = [await ruleset(), await cpuOf(pid)];
    await save(CONFIG, config);
    const said = (await log.until(/policy in force|config rejected/)).at(-1);
    most = Math.max(most, (await cpuOf(pid)) - cpu);
    const loaded = await loadConfig(CONFIG, { enableIPv6: true });
    expect(said, `config ${i}, seed ${SEED}`).toContain(
      loaded.ok ? "policy in force" : "last good policy stays active",
    );
    if (loaded.ok) {
      right++;
      const { actual, desired } = await backend.plan(policyOf(loaded.config, FLAGS));
      expect([...actual], `config ${i}, seed ${SEED}`).toEqual([...desired]);
    } else expect(await ruleset(), `config ${i}, seed ${SEED}`).toEqual(before);
  }
  const { peak, now } = await memoryOf(pid);
  measured.push({
    title: "The same configs in a running agent",
    how: "The agent's config is replaced by each in turn. After an invalid one, `nft -a list ruleset` prints the same as before; after a valid one, the kernel holds its policy.",
    columns: ["configs", "valid", "invalid", "highest CPU time", "peak memory", "memory at the end"],
    rows: [
      [
        ...[COUNT, right, COUNT - right].map(String),
        `${most.toFixed(2)} s`,
        `${Math.round(peak / MIB)} MiB`,
        `${Math.round(now / MIB)} MiB`,
      ],
    ],
    raw: { right, most, peak, now },
  });
  expect(most).toBeLessThan(MOST_CPU);
  expect(peak).toBeLessThan(MOST_BYTES);
  agent?.kill("SIGTERM");
  expect(await agent?.exited).toBe(0);
}, 600_000);

test("malicious HTTP clients stop neither repairs nor later answers", async () => {
  const { pid, url, log } = await start();
  const rows: string[][] = [];
  for (const attack of ATTACKS) {
    const ended = attack.run(new URL(url));
    const flushed = performance.now();
    await output(["nft", "flush", "ruleset"]);
    await log.until("repaired");
    const repaired = `${Math.round(performance.now() - flushed)} ms`;
    const { requests, answers } = await ended;
    const { status } = await fetch(`${url}/healthz`);
    expect(status, attack.name).toBe(200);
    await calm(attack);
    process.stderr.write(`${attack.name}: ${answers}\n`);
    rows.push([attack.name, `${requests}`, answers, repaired, `${status}`]);
  }
  const { peak } = await memoryOf(pid);
  measured.push({
    title: "HTTP",
    how: `One attack after the other, over loopback. During each, the rules are flushed and must be repaired. The agent's memory peaked at ${Math.round(peak / MIB)} MiB.`,
    columns: ["attack", "requests", "responses", "rules repaired after", "/healthz afterwards"],
    rows,
    raw: { rows, peak },
  });
  expect(peak).toBeLessThan(MOST_BYTES);
}, 600_000);

/** Takes the abstract socket name of 0.1.0 and the HTTP port whenever they are free, and answers `ok`. */
const THIEF = `
  const taken = { name: 0, port: 0 };
  const take = (what, listen) => { try { const it = listen(); taken[what]++; setTimeout(() => it.stop(true), 300); } catch {} };
  setInterval(() => take("name", () => Bun.listen({ unix: "\\0ipmasq", socket: { data() {} } })), 1);
  setInterval(() => take("port", () => Bun.serve({ hostname: "127.0.0.1", port: 9469, fetch: () => new Response("ok") })), 1);
  setInterval(() => console.log(JSON.stringify(taken)), 50);
`;
const RESTARTS = 20;

test("an unprivileged process that takes name and port at each restart stops no policy from being applied", async () => {
  if (process.env.LAB_USER) return; // this user namespace has only one user
  const unprivileged = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const thief = Bun.spawn([...unprivileged, process.execPath, "-e", THIEF], { stdout: "pipe" });
  const takings = new Lines(thief.stdout);
  await takings.until('"port":');
  const waits: number[] = [];
  for (let i = 0; i < RESTARTS; i++) {
    const config = `nonMasqueradeCIDRs: [10.${i}.0.0/16]\n`;
    await save(CONFIG, config);
    const began = performance.now();
    agent = Bun.spawn([BINARY, `--config=${CONFIG}`], { stdio: ["ignore", "ignore", "pipe"] });
    await new Lines(agent.stderr).until("policy in force");
    waits.push(performance.now() - began);
    // Repeats until the sync that wrote the rules has ended.
    let status = await run([BINARY, "status", "--output=json"]);
    while (status.exitCode !== 0) status = await run([BINARY, "status", "--output=json"]);
    expect(JSON.parse(status.stdout), `restart ${i}`).toMatchObject({ from: "agent", config: CONFIG });
    expect(await output(["nft", "list", "ruleset"])).toContain(`10.${i}.0.0/16`);
    agent.kill("SIGKILL");
    await agent.exited;
  }
  thief.kill();
  const taken: { name: number; port: number } = JSON.parse((await takings.all()).at(-1) ?? "");
  const longest = Math.max(...waits);
  measured.push({
    title: "An unprivileged process",
    how: "User 65534 takes the abstract socket `@ipmasq` and port 9469 whenever they are free, and answers each request with `ok`, while the agent is killed and restarted. A restart counts if the new config was applied and `ipmasq status` showed the answer of the agent itself.",
    columns: ["restarts", "config applied", "name taken", "port taken", "slowest, until applied"],
    rows: [[`${RESTARTS}`, `${waits.length}`, `${taken.name}`, `${taken.port}`, `${Math.round(longest)} ms`]],
    raw: { waits, taken },
  });
  expect(taken.port).toBeGreaterThan(0);
}, 120_000);
/** Numbers of clients, and their behaviour. */
const CLIENTS: readonly (readonly [number, Kind])[] = [
  [1000, "send nothing"],
  [3000, "send nothing"],
  [1000, "send a header every second"],
  [1000, "request /metrics"],
  [1000, "request /status"],
  [1000, "request /"],
  [1000, "request /status with HEAD"],
  [1000, "send 1000 requests at once"],
  [1000, "send headers of 1 MB"],
];
/** How long clients run before memory is read and rules are flushed, in milliseconds. */
const CLIENTS_MS = 5000;
/**
 * The maximum memory increase by clients, without the response that they share, which costs as much for one client. With
 * long lists a resync costs more, so the test avoids resyncs.
 */
const MOST_GROWTH = 32 * MIB;

test.each([1000, 100_000])(
  "clients that read nothing keep an agent with %d CIDRs neither from repairs nor from probes",
  async cidrs => {
    // Link-local adds one CIDR, and the limit is 100,000.
    const list = Array.from(
      { length: cidrs - 1 },
      (_, i) => `10.${i >> 15}.${(i >> 7) & 255}.${(2 * i) & 255}/32`,
    );
    await writeFile(
      CONFIG,
      `resyncInterval: 1h\ncidrLimit: ${cidrs}\nnonMasqueradeCIDRs: [${list.join(", ")}]\n`,
    );
    const { pid, url, log } = await start();
    const port = Number(new URL(url).port);
    const repair = async () => {
      const flushed = performance.now();
      await output(["nft", "flush", "ruleset"]);
      await log.until("repaired");
      return performance.now() - flushed;
    };
    // A flush during the agent's own listing could be repaired in two parts, one for each family.
    await idle(pid);
    const alone = await repair();
    await idle(pid);
    const one = await growthOf(pid, async () => void (await (await fetch(`${url}/status`)).text()));
    const rows: string[][] = [];
    const raw: unknown[] = [];
    for (const [count, kind] of CLIENTS) {
      // The agent delays repairs in quick succession, and verifies a long list once more after each.
      await Promise.all([Bun.sleep(10_500), idle(pid)]);
      let clients: HttpClients | undefined;
      let probes: number[] = [];
      const growth = await growthOf(pid, async () => {
        clients = await HttpClients.start(port, count, kind);
        probes = await probesFor(url, CLIENTS_MS, count > 1000 ? 2 : 1);
      });
      const repaired = await repair();
      await clients?.stop();
      const slowest = Math.max(...probes);
      process.stderr.write(
        `${cidrs} CIDRs, ${count} ${kind}: ${JSON.stringify({ growth, repaired, slowest })}\n`,
      );
      raw.push({ count, kind, growth, repaired, probes });
      rows.push([
        `${count} ${kind}`,
        ...[repaired, slowest].map(it => `${Math.round(it)} ms`),
        `${Math.round(growth / MIB)} MiB`,
      ]);
      // Bun's backlog is 512 connections; for more, the kernel retries after a second.
      const most = count > 1000 ? 3000 : 1000;
      expect(slowest, `ms for /healthz while ${count} ${kind}`).toBeLessThan(most);
      const asks = kind.includes("request");
      expect(growth, `bytes while ${count} ${kind}`).toBeLessThan(MOST_GROWTH + (asks ? one : 0));
      expect(repaired - alone, `ms more than alone while ${count} ${kind}`).toBeLessThan(
        Math.max(1000, 2 * alone),
      );
    }
    measured.push({
      title: `Clients that read nothing, ${cidrs.toLocaleString("en")} CIDRs`,
      how: `Clients connect over loopback, on the agent's own two processors, and reconnect 200 ms after they are disconnected. /healthz is requested every 50 ms for ${CLIENTS_MS / 1000} s over new connections. Without clients, flushed rules are repaired after ${Math.round(alone)} ms, and one client that requests /status and reads it increases memory by ${Math.round(one / MIB)} MiB.`,
      columns: ["clients", "rules repaired after", "slowest /healthz", "highest memory increase"],
      rows,
      raw,
    });
  },
  600_000,
);

/** The peak memory increase of a process during some work, in bytes. */
async function growthOf(pid: number, work: () => Promise<void>): Promise<number> {
  await writeFile(`/proc/${pid}/clear_refs`, "5"); // resets VmHWM
  const before = (await memoryOf(pid)).now;
  await work();
  return (await memoryOf(pid)).peak - before;
}

/** Waits until an agent has been idle for two seconds, with its monitor as the only child process. */
async function idle(pid: number): Promise<void> {
  for (let quiet = 0; quiet < 4; ) {
    const before = await cpuOf(pid);
    await Bun.sleep(500);
    const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).split(" ").filter(Boolean);
    const isQuiet = children.length <= 1 && (await cpuOf(pid)) - before < 0.05;
    quiet = isQuiet ? quiet + 1 : 0;
  }
}

/** The durations of probes, in milliseconds. Throws if one fails, also at its second try. */
async function probesFor(url: string, duration: number, tries: number): Promise<number[]> {
  const took: number[] = [];
  for (const began = performance.now(); performance.now() - began < duration; await Bun.sleep(50)) {
    const asked = performance.now();
    const ask = () => fetch(`${url}/healthz`, { keepalive: false });
    const { status } = await (tries > 1 ? ask().catch(ask) : ask());
    expect(status).toBe(200);
    took.push(performance.now() - asked);
  }
  return took;
}

async function start(): Promise<{ pid: number; url: string; log: Lines }> {
  const command = [BINARY, `--config=${CONFIG}`, "--enable-ipv6", "--listen=127.0.0.1:0"];
  agent = Bun.spawn(command, { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const log = new Lines(agent.stderr);
  const [serving = ""] = (await log.until("serving metrics and health")).slice(-1);
  await Bun.sleep(1500); // the agent verifies its own write once more
  return { pid: agent.pid, url: `http://${/listen=(\S+)/.exec(serving)?.[1]}`, log };
}

/** Waits between repairs, because the agent delays them after five within ten seconds. */
async function calm({ name }: Attack): Promise<void> {
  if (ATTACKS.findIndex(it => it.name === name) % 4 === 3) await Bun.sleep(10_500);
}

/** The CPU time of a process, in seconds. */
async function cpuOf(pid: number): Promise<number> {
  const [, after = ""] = (await readFile(`/proc/${pid}/stat`, "utf8")).split(") ");
  const [user = 0, system = 0] = after.split(" ").slice(11, 13).map(Number);
  return (user + system) / TICKS;
}

/** Clock ticks per second in /proc. */
const TICKS = 100;

/** Resident memory, now and at its peak, in bytes. */
async function memoryOf(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  const value = (name: string) => 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
  return { now: value("VmRSS"), peak: value("VmHWM") };
}
