/** What a sync costs a running agent that finds nothing to change. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { Namespace } from "../../lab/namespace.ts";
import { batch } from "../../lab/network.ts";
import { CHAINS } from "../baselines/chain.ts";
import { duration, megabytes, number } from "../figure.ts";
import { Meter } from "../meter.ts";
import { cpuOf, type Memory, memoryOf } from "../process-tree.ts";
import type { Benchmark } from "../result.ts";

const SYNCS = 1000;
/** Enough to see what it starts and what it writes. */
const WATCHED = 20;
const CHAIN_SYNCS = 50;
const DEFAULTS = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const FOLDER = "/run/resync";
const STARTED = `${FOLDER}/started`;

/** In the network namespace of `lab/isolate` itself, for the agent's HTTP. */
export async function resync(): Promise<Benchmark> {
  const watched = await withAgent(await recording(), async agent => {
    const monitor = Bun.spawn(["nft", "monitor"], { stdout: "pipe" });
    const events = new Lines(monitor.stdout);
    await heard(events);
    await Bun.sleep(2000); // it looks for rules of others when it sees a change that is not its own
    const before = await agent.syncs();
    await Bun.sleep(100);
    await writeFile(STARTED, "");
    await agent.hangUp(WATCHED);
    const started = (await readFile(STARTED, "utf8")).split("\n").filter(Boolean).length;
    const syncs = (await agent.syncs()) - before; // which looks at the counters in the kernel
    const written = (await heard(events)).length;
    monitor.kill();
    return { processes: started / syncs, written };
  });
  const { cpu, ...grown } = await withAgent({}, async agent => {
    await agent.hangUp(100); // Bun compiles what is run often
    const [syncs, before, memory] = [await agent.syncs(), cpuOf(agent.pid), memoryOf(agent.pid)];
    await agent.hangUp(SYNCS);
    const after = cpuOf(agent.pid);
    const done = (await agent.syncs()) - syncs;
    const cpu = (after.user + after.system - before.user - before.system) / done;
    return { cpu, done, before: memory, after: memoryOf(agent.pid) };
  });
  const chains: [string, number][] = [];
  for (const baseline of CHAINS) {
    await batch(["netns add resync"]);
    const node = new Namespace("resync");
    const meter = new Meter(node);
    for (let i = 0; i < CHAIN_SYNCS; i++) await baseline.sync(meter.run, DEFAULTS, FOLDER);
    chains.push([baseline.name, (meter.cost.user + meter.cost.system) / CHAIN_SYNCS]);
    await batch(["netns delete resync"]);
  }
  const memory = ({ resident, anonymous }: Memory) => `${megabytes(resident)}, ${megabytes(anonymous)}`;
  return {
    title: "A sync that finds nothing to change",
    how: `The defaults, one family; syncs asked for by SIGHUP, one after the other: ${WATCHED} with nft's calls counted and nft's monitor listening, then ${grown.done} for the CPU. Memory is resident and anonymous, after the first 100 of them and at the end. "RETURN chain" is the calls of ip-masq-agent, ${CHAIN_SYNCS} times, without the program that makes them.`,
    tables: [
      {
        columns: ["", "processes", "changes in the kernel", "CPU", "memory", `after ${grown.done} syncs`],
        rows: [
          [
            "ipmasq nftables",
            number(watched.processes),
            number(watched.written),
            duration(cpu),
            memory(grown.before),
            memory(grown.after),
          ],
          ...chains.map(([name, seconds]) => [name, "3", "the whole chain", duration(seconds), "–", "–"]),
        ],
      },
    ],
    comparisons: [
      {
        what: "CPU of a sync that finds nothing to change",
        better: "less",
        ours: { name: "ipmasq nftables", samples: [cpu] },
        others: chains.map(([name, seconds]) => ({ name, samples: [seconds] })),
      },
    ],
    targets: [
      {
        what: "no-change sync",
        peer: `3 processes, ${chains.map(([, seconds]) => duration(seconds)).join(" or ")} of CPU, the whole chain rewritten`,
        marks: [
          { of: "processes", unit: "", better: "less", value: watched.processes, must: 1 },
          { of: "changes in the kernel", unit: "", better: "less", value: watched.written, must: 0 },
          { of: "CPU", unit: "s", better: "less", value: cpu, aim: 0.005 },
        ],
      },
    ],
    raw: { watched, cpu, grown, chains: Object.fromEntries(chains) },
  };
}

interface Agent {
  readonly pid: number;
  /** How many syncs there were. */
  syncs(): Promise<number>;
  /** Asks for so many, one after the other. */
  hangUp(times: number): Promise<void>;
}

async function withAgent<T>(env: Record<string, string>, measure: (agent: Agent) => Promise<T>): Promise<T> {
  const agent = Bun.spawn([BINARY, "--backend=nftables", "--config=/run/none", "--listen=127.0.0.1:0"], {
    stderr: "pipe",
    env: { ...process.env, ...env },
  });
  try {
    const [serving = ""] = (await new Lines(agent.stderr).until("serving metrics")).slice(-1);
    const url = `http://${/listen=(\S+)/.exec(serving)?.[1]}`;
    await Bun.sleep(2000);
    return await measure({
      pid: agent.pid,
      syncs: () => syncsAt(url),
      hangUp: times => hangUp(agent, times),
    });
  } finally {
    agent.kill();
    await agent.exited;
    await Bun.spawn(["nft", "flush ruleset"]).exited;
  }
}

/** Signals that come during a sync make one, so each is sent when the one before is most likely done. */
async function hangUp(agent: Bun.Subprocess, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    agent.kill("SIGHUP");
    await Bun.sleep(12);
  }
  await Bun.sleep(100);
}

async function syncsAt(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^ipmasq_sync_duration_seconds_count (\d+)$/m.exec(metrics)?.[1]);
}

/** An environment in which each start of nft leaves a line in a file. */
async function recording(): Promise<Record<string, string>> {
  await mkdir(FOLDER, { recursive: true });
  const script = `#!/bin/sh\necho "$@" >>${STARTED}\nexec ${Bun.which("nft")} "$@"\n`;
  await writeFile(`${FOLDER}/nft`, script, { mode: 0o755 });
  return { PATH: `${FOLDER}:${process.env.PATH}` };
}

/** What a monitor heard up to now: all that came before a change of our own, made again until it listens. */
async function heard(events: Lines): Promise<string[]> {
  const mark = `mark-${performance.now().toFixed(0)}`;
  const lines = events.until(`delete table ip ${mark}`);
  let listening = false;
  void lines.then(() => {
    listening = true;
  });
  while (!listening) {
    await Bun.spawn(["nft", `add table ip ${mark}; delete table ip ${mark}`]).exited;
    await Bun.sleep(100);
  }
  return (await lines).filter(line => !line.includes("mark-") && !line.startsWith("# new generation"));
}
