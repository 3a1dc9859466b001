import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, open, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import fc from "fast-check";
import { BINARY } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import type { Load } from "../../lab/load.ts";
import { output } from "../../lab/output.ts";
import { save } from "../../lab/save.ts";
import { WRITERS, type Writer } from "../../lab/writers.ts";
import { debianTools } from "../debian/tools.ts";
import { HangingFileSystem } from "../hanging-file-system.ts";
import { HttpClients, KINDS } from "../http-clients.ts";
import { CrashingNft, type MonitorLie } from "./crashing-nft.ts";
import { FOREIGN, STATES } from "./foreign-rules.ts";

/** Duration for all writers together. `npm run test:faults` sets 600. */
const SECONDS = Number(process.env.FAULTS_SECONDS ?? 20);
/** The same seed produces the same faults, but the kernel's answers can arrive in another order. */
const SEED = Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 2 ** 31));

const KEPT = "10.1.2.3";
const OUTBOUND = "203.0.113.7";

/** A file system in the empty /run of lab/isolate, which a fault fills. */
const DISK = "/run/faults";
/** A separate directory, so that only the config hangs. */
const FOLDER = `${DISK}/config`;
const CONFIG = `${FOLDER}/ip-masq-agent`;
const PORT = 9469;
/** The minimum interval between hangs of nft; each blocks the agent for up to 15 s. */
const HANG_EVERY_MS = 40_000;
/** How long the test sometimes waits for correct rules, in milliseconds. */
const HEALING_MS = 1500;
/** The final wait, in milliseconds. A call of nft that hangs can delay the repair. */
const RECOVERY_MS = 25_000;

/** Valid configs. All keep KEPT, none keeps OUTBOUND, and each keeps one address that the others do not. */
const GOOD = [
  { only: "192.0.2.1", text: "nonMasqueradeCIDRs: [10.0.0.0/8, 192.0.2.0/24]\n" },
  { only: "198.18.0.1", text: "nonMasqueradeCIDRs: [198.18.0.0/15, 10.1.0.0/16, 172.16.0.0/12]\n" },
  { only: "100.64.0.1", text: "nonMasqueradeCIDRs: [100.64.0.0/10, 10.1.2.0/24]\nmasqLinkLocal: true\n" },
] as const;
const WRONG = [
  "nonMasqueradeCIDRs: [10.0.0.1/8]\n",
  "nonMasqueradeCIDRs: [10.0.0.0/8\n",
  "cidrLimit: many\n",
  "\u0000",
];

/** The agent chooses a backend that works; the other writers select one by flag. */
const AUTO: Writer = { name: "auto", flags: [], prepare: async () => {} };

const trixie = await debianTools("trixie");

let lab: Lab;
/** The nft in the agent's PATH, which has only this folder. */
let nft: CrashingNft;
const gone = () => `${nft.folder}-gone`;
beforeEach(async () => {
  lab = await Lab.create();
  await mkdir(DISK, { recursive: true });
  await output(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", DISK]);
  await mkdir(FOLDER);
  nft = await CrashingNft.create(undefined, true);
  for (const family of ["iptables", "ip6tables"]) {
    for (const suffix of ["", "-save", "-restore"]) {
      for (const variant of ["", "-nft", "-legacy"]) await provide(`${family}${variant}${suffix}`);
    }
  }
  await provide("sleep"); // used by an nft that hangs
});
afterEach(async () => {
  await lab.close();
  await output(["umount", DISK]);
});

async function provide(program: string): Promise<void> {
  const path = Bun.which(program);
  if (path) await symlink(path, `${nft.folder}/${program}`);
}

test.each([...WRITERS, AUTO].map((writer, i) => [writer.name, writer, SEED + i] as const))(
  `random faults (seed ${SEED}) end in sync, without a wrong verdict by ipmasq: %s`,
  async (_name, writer, seed) => {
    const seconds = SECONDS / 4;
    const world = await World.create(writer);
    const draws = fc.sample(fc.tuple(fc.constantFrom(...Object.keys(FAULTS)), fc.nat(150)), {
      seed,
      numRuns: Math.ceil(seconds * 100),
    });
    const end = performance.now() + 1000 * seconds;
    for (const [name, pause] of draws) {
      if (performance.now() > end) break;
      await FAULTS[name]?.(world, pause);
      await Bun.sleep(pause);
      // Sometimes all programs work again and the agent has time to repair: constant exposure would prove nothing.
      if (pause % 5 === 0) await world.endFaults();
      await world.look(pause % 5 < 2 ? HEALING_MS : 0);
    }
    await world.recover();
    const counts = Object.entries(world.counts).map(([name, count]) => `${count} × ${name}`);
    process.stderr.write(`${writer.name}, seed ${SEED}: ${counts.join(", ")}\n`);
  },
  1000 * SECONDS + 60_000,
);

/** The faults. Each ends when it returns, except what `recover` repairs. */
const FAULTS: Readonly<Record<string, (world: World, random: number) => Promise<void>>> = {
  "change config": (world, random) => world.save(GOOD[random % GOOD.length]?.text ?? ""),
  "change config again": (world, random) => world.save(GOOD[(random + 1) % GOOD.length]?.text ?? ""),
  "break config": (world, random) => world.save(WRONG[random % WRONG.length] ?? ""),
  "write config slowly in place": (world, random) =>
    world.write(GOOD[random % GOOD.length]?.text ?? "", random),
  "hang under the config": (world, random) => world.hang(10 * random),
  flush: world => world.tamper(["nft", "flush", "ruleset"], ["iptables-legacy", "-t", "nat", "-F"]),
  "delete rule": world =>
    world.tamper(
      ["nft", "flush chain ip ip-masq-agent IP-MASQ-AGENT"],
      ["iptables-nft", "-t", "nat", "-D", "IP-MASQ-AGENT", "1"],
      ["iptables-legacy", "-t", "nat", "-D", "IP-MASQ-AGENT", "1"],
    ),
  "add element": world =>
    world.tamper(
      ["nft", "add element ip ip-masq-agent non-masquerade-a { 203.0.113.0/24 }"],
      ["nft", "add element ip ip-masq-agent non-masquerade-b { 203.0.113.0/24 }"],
      ["iptables-nft", "-t", "nat", "-I", "IP-MASQ-AGENT", "-d", "203.0.113.0/24", "-j", "RETURN"],
      ["iptables-legacy", "-t", "nat", "-I", "IP-MASQ-AGENT", "-d", "203.0.113.0/24", "-j", "RETURN"],
    ),
  "kill -9": world => world.restartIfOld("SIGKILL"),
  restart: world => world.restartIfOld("SIGTERM"),
  "leave our table in a state": (world, random) =>
    world.tamperIfRepairable(["nft", STATES[random % STATES.length]?.[1] ?? ""]),
  "write a foreign rule": async (world, random) => {
    const commands = FOREIGN[random % FOREIGN.length]?.[1] ?? [];
    for (const command of commands) await lab.node.run([...command]);
    world.count("foreign rules");
  },
  "declare a set by a newer nft": async world => {
    if ("missing" in trixie) return;
    const { exitCode } = await lab.node.run([...trixie.nft, "delete table ip newer"]);
    if (exitCode === 0) return;
    await lab.node.output([...trixie.nft, "add table ip newer; add set ip newer s { type ipv4_addr; }"]);
    world.count("sets of a newer nft");
  },
  "crash nft": async world => {
    if (existsSync(nft.folder)) await world.break("crash");
  },
  "crash nft as beside a newer one": async world => {
    if (existsSync(nft.folder)) await world.break("crash beside newer");
  },
  "hang nft": (world, random) => world.hangNft(10 * random),
  "kill the monitor": world => world.disturbMonitor("SIGKILL"),
  "stop the monitor for a while": async (world, random) => {
    await world.disturbMonitor("SIGSTOP");
    await Bun.sleep(5 * random);
    await world.disturbMonitor("SIGCONT");
  },
  "overflow the monitor": async world => {
    await world.disturbMonitor("SIGSTOP");
    const elements = Array.from({ length: 60_000 }, (_, i) => `172.16.${i >> 8}.${i & 255}`).join(", ");
    const load = `add table ip theirs { set s { type ipv4_addr; elements = { ${elements} }; }; }`;
    for (let i = 0; i < 3; i++) await lab.node.run(["nft", "-f", "-"], `${load}; delete table ip theirs`);
    await world.tamper(["nft", "flush chain ip ip-masq-agent IP-MASQ-AGENT"]);
    await world.disturbMonitor("SIGCONT");
  },
  "silence the monitor": async (world, random) => {
    await world.lie("silent");
    await world.tamper(["nft", "flush chain ip ip-masq-agent postrouting"]);
    await Bun.sleep(5 * random);
    await world.lie("nothing");
  },
  "drop a transaction from the monitor": world => world.lie("drops one"),
  "repeat a transaction in the monitor": world => world.lie("repeats one"),
  "flood HTTP": async (world, random) => {
    if (performance.now() < world.up) return;
    const kind = KINDS[random % KINDS.length] ?? "send nothing";
    const clients = await HttpClients.start(PORT, 200, kind, lab.node);
    await Bun.sleep(2 * random);
    await clients.stop();
    world.count("HTTP floods");
  },
  "hold the lock": async (_world, random) => {
    const elements = Array.from({ length: 20_000 }, (_, i) => `172.16.${i >> 8}.${i & 255}`).join(", ");
    const long = `add table ip theirs { set s { type ipv4_addr; elements = { ${elements} }; }; }; delete table ip theirs`;
    await Promise.all([
      lab.node.run(["flock", "/run/xtables.lock", "sleep", `${random / 500}`]),
      lab.node.run(["nft", "-f", "-"], long),
    ]);
  },
  "take nft away": async () => {
    await rename(nft.folder, gone()).catch(() => rename(gone(), nft.folder));
  },
  "fill the disk": async () => {
    if (await Bun.file(`${DISK}/filling`).exists()) await rm(`${DISK}/filling`);
    else await lab.node.run(["dd", "if=/dev/zero", `of=${DISK}/filling`, "bs=64k", "count=1000"]);
  },
  "burst of SIGHUP": async world => {
    if (performance.now() < world.up) return;
    for (let i = 0; i < 200; i++) world.agent.kill("SIGHUP");
  },
};

/** An agent, the programs that disturb it, and connections whose verdict never changes. */
class World {
  readonly counts: Record<string, number> = {};
  agent: Bun.Subprocess;
  /** When the agent handles signals. An earlier signal can kill it. */
  up = 0;
  /** Wrong verdicts until the rules were last seen correct after another program had changed them. */
  #excused = 0;
  /** Whether another program changed the rules and they were not seen correct since. */
  #exposed = false;
  /** Whether nft crashes. */
  #broken = false;
  /** When the rules were last seen correct after a change, and how long no wrong verdict was excused. */
  #healed = performance.now();
  #watched = 0;
  #nextHang = performance.now();
  readonly #ends = performance.now() + (1000 * SECONDS) / 4;

  private constructor(
    readonly writer: Writer,
    readonly load: Load,
  ) {
    this.agent = this.#start();
  }

  static async create(writer: Writer): Promise<World> {
    await writeFile(CONFIG, GOOD[0].text);
    await writer.prepare(lab);
    await lab.node.output([BINARY, "run", "--once", `--config=${CONFIG}`, ...writer.flags]);
    const load = await lab.load({
      destinations: [KEPT, OUTBOUND],
      flowsPerSecond: 4000,
      seconds: SECONDS + 60,
    });
    return new World(writer, load);
  }

  #start(): Bun.Subprocess {
    const flags = [
      `--listen=127.0.0.1:${PORT}`,
      "--resync-interval=1s",
      `--config=${CONFIG}`,
      ...this.writer.flags,
    ];
    this.up = performance.now() + 500;
    const command = ["env", `PATH=${nft.folder}`, BINARY, ...flags];
    return lab.node.spawn(command, { stderr: Bun.file(`${DISK}/log`) });
  }

  /** Saves a config as kubelet does, if the disk has space. */
  async save(config: string): Promise<void> {
    try {
      await save(CONFIG, config);
      this.count("configs saved");
    } catch {
      this.count("configs not saved, disk full");
    }
  }

  /** Writes a config in two parts; the first alone masquerades everything. */
  async write(config: string, pause: number): Promise<void> {
    const half = config.indexOf("[");
    const file = await open(CONFIG, "w");
    try {
      await file.write(config.slice(0, half));
      await Bun.sleep(5 * pause);
      await file.write(config.slice(half));
      this.count("configs written in place");
    } catch {
      // Half of the config stays. An agent that was not running meanwhile would consider it complete.
      await rm(`${DISK}/filling`, { force: true });
      await save(CONFIG, config);
      this.count("configs truncated, disk full");
    } finally {
      await file.close();
    }
  }

  /** Makes the config's file system hang for some milliseconds, and flushes the rules meanwhile. */
  async hang(milliseconds: number): Promise<void> {
    if (HangingFileSystem.missing) return;
    const hanging = await HangingFileSystem.mount(FOLDER);
    await this.tamper(["nft", "flush", "ruleset"], ["iptables-legacy", "-t", "nat", "-F"]);
    await Bun.sleep(milliseconds);
    await hanging.release();
    this.count("times that the config hung");
  }

  /** Changes the agent's rules. Wrong verdicts are excused until the rules are correct again. */
  async tamper(...commands: string[][]): Promise<void> {
    if (!this.#exposed) {
      await this.#nothingWrong();
      this.#watched += performance.now() - this.#healed;
    }
    this.#exposed = true;
    for (const command of commands) await lab.node.run(command);
    await this.writer.prepare(lab);
    this.count("times that the rules were changed");
  }

  /** Changes the agent's rules if its nft can repair them. */
  async tamperIfRepairable(...commands: string[][]): Promise<void> {
    if (this.#broken || !existsSync(nft.folder)) return;
    await this.tamper(...commands);
  }

  /** Makes nft crash from now on, or work again. */
  async break(mode: "crash" | "crash beside newer"): Promise<void> {
    this.#broken = !this.#broken;
    await nft.become(this.#broken ? mode : "ok");
    this.count(`times that nft started to ${mode}`);
  }

  /** Sends a signal to the agent's monitor, if its nft exists. */
  async disturbMonitor(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    if (!existsSync(nft.folder)) return;
    await nft.signalMonitors(signal);
    this.count(`times that monitors got ${signal}`);
  }

  /** Makes the agent's monitor lie, if its nft exists. */
  async lie(what: MonitorLie): Promise<void> {
    if (!existsSync(nft.folder)) return;
    await nft.lie(what);
    this.count(`times that monitors lied: ${what}`);
  }

  /** Makes nft hang for some milliseconds. Short runs skip this. */
  async hangNft(milliseconds: number): Promise<void> {
    const now = performance.now();
    const soon = now < this.#nextHang || this.#ends - now < HANG_EVERY_MS / 2;
    if (soon || this.#broken || !existsSync(nft.folder)) return;
    this.#nextHang = now + HANG_EVERY_MS;
    await nft.become("hang");
    await Bun.sleep(milliseconds);
    await nft.become("ok");
    this.count("times that nft hung");
  }

  /** Restarts the agent. If it chooses its backend, it first gets time to move back to nft, which it tries after 10 s. */
  async restartIfOld(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (this.writer === AUTO && performance.now() < this.up + 30_000) return;
    await this.restart(signal);
  }

  async restart(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const early = performance.now() < this.up;
    this.agent.kill(signal);
    const code = await this.agent.exited;
    if (signal === "SIGTERM" && !early) expect(code, `exit code, seed ${SEED}`).toBe(0);
    this.agent = this.#start();
    this.count(signal);
  }

  /** Makes all programs work again and frees the disk. */
  async endFaults(): Promise<void> {
    await rename(gone(), nft.folder).catch(() => {});
    await nft.become("ok");
    await nft.lie("nothing");
    await nft.signalMonitors("SIGCONT");
    this.#broken = false;
    await lab.node.run([...("missing" in trixie ? ["nft"] : trixie.nft), "delete table ip newer"]);
    await rm(`${DISK}/filling`, { force: true });
  }

  /**
   * Checks whether the rules are correct again, and that the agent has not ended by itself.
   *
   * @param timeout the time to wait for correct rules, in milliseconds
   */
  async look(timeout = 0): Promise<void> {
    expect(this.agent.exitCode, `exit code, seed ${SEED}`).toBe(null);
    if (!this.#exposed) return;
    const end = performance.now() + timeout;
    while (!(await right())) {
      if (performance.now() > end) return;
      await Bun.sleep(20);
    }
    await Bun.sleep(20); // until packets in flight arrive
    this.#excused = await this.#wrong();
    this.#exposed = false;
    this.#healed = performance.now();
    this.count("heals seen");
  }

  /** Ends all faults and checks that the agent recovers. */
  async recover(): Promise<void> {
    await this.endFaults();
    const [, good] = GOOD;
    await this.save(good.text);
    // A restart, because a fallback retries nft only after up to five minutes, and to remove leftovers.
    await this.restart("SIGTERM");
    const began = performance.now();
    while (!((await right()) && (await owner(good.only)) === "pod")) {
      if (performance.now() - began > RECOVERY_MS) throw new Error(await this.#stuck());
      await Bun.sleep(20);
    }
    await this.look();
    await Bun.sleep(2000);
    // The agent's backend and the one that `diff` would choose now can differ because of an exemption.
    const choices =
      this.writer === AUTO ? [["--backend=nftables"], ["--backend=iptables"]] : [this.writer.flags];
    const diffs = choices.map(flags => lab.node.run([BINARY, "diff", `--config=${CONFIG}`, ...flags]));
    const found = await Promise.all(diffs);
    const same = found.some(({ exitCode, stdout }) => exitCode === 0 && stdout === "");
    expect(same ? [] : found, `diff, seed ${SEED}`).toEqual([]);
    const ready = `process.exit((await fetch("http://127.0.0.1:${PORT}/readyz")).ok ? 0 : 1)`;
    expect((await lab.node.run(["bun", "-e", ready])).exitCode, `ready, seed ${SEED}`).toBe(0);
    const [kept, outbound] = await this.load.stop();
    expect((kept?.fromPod ?? 0) + (outbound?.fromNode ?? 0)).toBeGreaterThan(0);
    await this.#nothingWrong();
    this.counts["seconds watched"] = Math.round((this.#watched + performance.now() - this.#healed) / 1000);
    this.agent.kill("SIGTERM");
    expect(await this.agent.exited).toBe(0);
  }

  async #stuck(): Promise<string> {
    const log = await readFile(`${DISK}/log`, "utf8");
    const rules = await lab.node.run(["sh", "-c", "nft list ruleset; iptables-legacy-save -t nat"]);
    return `not in sync within ${RECOVERY_MS / 1000} s, seed ${SEED}\n${log.slice(-4000)}\n${rules.stdout}`;
  }

  async #nothingWrong(): Promise<void> {
    expect((await this.#wrong()) - this.#excused, `wrong verdicts, seed ${SEED}`).toBe(0);
  }

  async #wrong(): Promise<number> {
    const [kept, outbound] = await this.load.tally();
    if (!kept || !outbound) throw new Error("no tally");
    return kept.fromNode + kept.other + outbound.fromPod + outbound.other;
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }
}

async function right(): Promise<boolean> {
  return (await owner(KEPT)) === "pod" && (await owner(OUTBOUND)) === "node";
}

async function owner(to: string): Promise<string> {
  return lab.ownerSeen({ protocol: "udp", to });
}
