/** What it costs a running agent that one CIDR of its list changes. */
import { RunningAgent } from "../../lab/agent.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { cidrs, inWords } from "../cidrs.ts";
import { duration, median, megabytes, number } from "../figure.ts";
import { type Cpu, cpuOf, memoryOf } from "../process-tree.ts";
import type { Benchmark } from "../result.ts";
import { Paths } from "../wire/paths.ts";

/** How many changes, by the length of the list. */
const CHANGES: ReadonlyMap<number, number> = new Map([
  [64, 10],
  [1000, 10],
  [10_000, 5],
  [100_000, 2],
]);
const FOLDER = "/run/change";

interface Changed {
  readonly size: number;
  /** Of the agent from its start until its rules are in force, the start of the program included. */
  readonly first: Cpu;
  /** The mean of a change. */
  readonly change: Cpu;
  /** Seconds from the saved config to the rules in force, one a change. */
  readonly times: readonly number[];
  /** The most that agent and nft held at once, in bytes. */
  readonly peak: number;
}

export async function change(): Promise<Benchmark> {
  const all: Changed[] = [];
  for (const [size, changes] of CHANGES) all.push(await changed(size, changes));
  const cpu = ({ user, system }: Cpu) => `${duration(user)}, ${duration(system)}`;
  const share = ({ first, change }: Changed) => change.system / first.system;
  const target = all.find(({ size }) => size === 10_000);
  return {
    title: "One CIDR changed, in a running agent",
    how: `nftables; the config is saved by rename with its last CIDR changed, ${Array.from(CHANGES, ([size, changes]) => `${changes} times with ${inWords(size)}`).join(", ")}. Time is from there to the log line that says that the rules are applied, which is after they were read back. CPU is in programs and in the kernel, of agent and nft together.`,
    tables: [
      {
        columns: [
          "",
          "time",
          "CPU of a change",
          "CPU of the first load",
          "kernel time beside the first load's",
          "memory at most",
        ],
        rows: all.map(result => [
          inWords(result.size),
          duration(median(result.times)),
          cpu(result.change),
          cpu(result.first),
          `${number(100 * share(result))} %`,
          megabytes(result.peak),
        ]),
      },
    ],
    targets: [
      {
        what: "kernel time of one changed CIDR in 10,000, as a share of the first load's",
        peer: "all of it: the chain is written anew",
        marks: [
          {
            unit: "share",
            better: "less",
            value: target === undefined ? Number.NaN : share(target),
            must: 0.1,
          },
        ],
      },
    ],
    raw: all,
  };
}

async function changed(size: number, changes: number): Promise<Changed> {
  await using paths = await Paths.create();
  const { node } = await paths.add();
  const list = (last: number) => [...cidrs(size).slice(1), `192.168.${last}.0/28`];
  const config = await saveConfig(list(0), FOLDER);
  const agent = await RunningAgent.started(node, ["--backend=nftables", `--config=${config}`]);
  const pid = agent.program.pid;
  const first = cpuOf(pid);
  let peak = 0;
  const looks = setInterval(() => {
    peak = Math.max(peak, memoryOf(pid).resident);
  }, 5);
  const times: number[] = [];
  for (let i = 1; i <= changes; i++) {
    await Bun.sleep(200); // what the change before had set off comes to an end
    const began = performance.now();
    await saveConfig(list(i), FOLDER);
    await agent.log.until("rules applied");
    times.push((performance.now() - began) / 1000);
  }
  await Bun.sleep(500);
  clearInterval(looks);
  const after = cpuOf(pid);
  await agent.end();
  const each = (kind: keyof Cpu) => (after[kind] - first[kind]) / changes;
  return { size, first, change: { user: each("user"), system: each("system") }, times, peak };
}
