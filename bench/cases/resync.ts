/** The cost of a sync that changes nothing. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { Namespace } from "../../lab/namespace.ts";
import { batch } from "../../lab/network.ts";
import { CHAINS } from "../baselines/rules.ts";
import { defineCase } from "../case.ts";
import { DEFAULTS } from "../cidrs.ts";
import { duration, megabytes, number } from "../figure.ts";
import { Meter } from "../meter.ts";
import { cpuOf, type Memory, memoryOf } from "../process-tree.ts";

/** One per second: the agent has no shorter resync interval. */
const SYNCS = 60;
/** Bun compiles code that runs often; memory is first read after this number of syncs. */
const WARM_UP = 60;
/** Enough syncs to count the programs and writes. */
const WATCHED = 20;
const CHAIN_SYNCS = 50;
const FOLDER = "/run/resync";
const STARTED = `${FOLDER}/started`;

/** Runs in the network namespace of `lab/isolate`, because the bench asks the agent over HTTP. */
export const resync = defineCase(
  "A sync that changes nothing",
  measure,
  ({ watched, cpu, grown, chains }) => {
    const memory = ({ resident, anonymous }: Memory) => `${megabytes(resident)}, ${megabytes(anonymous)}`;
    const costs = Object.entries(chains);
    return {
      how: `The agent runs with the defaults and one family. For ${WATCHED} syncs, nft's calls and the changes in the kernel are counted; for the next ${grown.done}, the CPU is measured. Memory is resident and anonymous memory, before these syncs and after them. "RETURN chain" runs the commands of ip-masq-agent ${CHAIN_SYNCS} times, without the agent.`,
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
            ...costs.map(([name, seconds]) => [name, "3", "the whole chain", duration(seconds), "–", "–"]),
          ],
        },
      ],
      comparisons: [
        {
          what: "CPU of a sync that changes nothing",
          better: "less",
          ours: [cpu],
          others: costs.map(([name, seconds]) => [name, [seconds]]),
        },
      ],
      targets: [
        {
          what: "sync that changes nothing",
          peer: `3 processes, ${costs.map(([, seconds]) => duration(seconds)).join(" or ")} of CPU, the whole chain rewritten`,
          marks: [
            { of: "processes", value: watched.processes, must: 1, show: number },
            { of: "changes in the kernel", value: watched.written, must: 0, show: number },
            { of: "CPU", value: cpu, aim: 0.005, show: duration },
          ],
        },
      ],
    };
  },
);

async function measure() {
  const watched = await withAgent(await recording(), async agent => {
    const monitor = Bun.spawn(["nft", "monitor"], { stdout: "pipe" });
    const events = new Lines(monitor.stdout);
    await heard(events);
    await Bun.sleep(2000); // a foreign change makes the agent look for conflicts
    const before = await agent.syncs();
    await Bun.sleep(100);
    await writeFile(STARTED, "");
    await agent.wait(WATCHED);
    const started = (await readFile(STARTED, "utf8")).split("\n").filter(Boolean).length;
    const syncs = (await agent.syncs()) - before; // this reads the kernel's counters
    const written = (await heard(events)).length;
    monitor.kill();
    return { processes: started / syncs, written };
  });
  const { cpu, ...grown } = await withAgent({}, async agent => {
    await agent.wait(WARM_UP);
    const [syncs, before, memory] = [await agent.syncs(), cpuOf(agent.pid), memoryOf(agent.pid)];
    await agent.wait(SYNCS);
    const after = cpuOf(agent.pid);
    const done = (await agent.syncs()) - syncs;
    const cpu = (after.user + after.system - before.user - before.system) / done;
    return { cpu, done, before: memory, after: memoryOf(agent.pid) };
  });
  const chains: Record<string, number> = {};
  for (const baseline of CHAINS) {
    await batch(["netns add resync"]);
    const node = new Namespace("resync");
    const meter = new Meter(node);
    for (let i = 0; i < CHAIN_SYNCS; i++) await baseline.sync(meter.run, DEFAULTS, FOLDER);
    chains[baseline.name] = (meter.cost.user + meter.cost.system) / CHAIN_SYNCS;
    await batch(["netns delete resync"]);
  }
  return { watched, cpu, grown, chains };
}

interface Agent {
  readonly pid: number;
  /** The number of syncs so far. */
  syncs(): Promise<number>;
  /** Waits for syncs. */
  wait(syncs: number): Promise<void>;
}

async function withAgent<T>(env: Record<string, string>, measure: (agent: Agent) => Promise<T>): Promise<T> {
  const config = `${FOLDER}/config`;
  await mkdir(FOLDER, { recursive: true });
  await writeFile(config, "resyncInterval: 1s\n");
  const agent = Bun.spawn([BINARY, "--backend=nftables", `--config=${config}`, "--listen=127.0.0.1:0"], {
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
      wait: syncs => Bun.sleep(1000 * syncs),
    });
  } finally {
    agent.kill();
    await agent.exited;
    await Bun.spawn(["nft", "flush ruleset"]).exited;
  }
}

async function syncsAt(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^ipmasq_sync_duration_seconds_count (\d+)$/m.exec(metrics)?.[1]);
}

/** Returns an environment in which each start of nft adds a line to a file. */
async function recording(): Promise<Record<string, string>> {
  await mkdir(FOLDER, { recursive: true });
  const script = `#!/bin/sh\necho "$@" >>${STARTED}\nexec ${Bun.which("nft")} "$@"\n`;
  await writeFile(`${FOLDER}/nft`, script, { mode: 0o755 });
  return { PATH: `${FOLDER}:${process.env.PATH}` };
}

/** Returns the events of a monitor so far: all before a mark, which is repeated until the monitor listens. */
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
