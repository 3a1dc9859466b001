/** The cost of one changed CIDR in a running agent. */
import { RunningAgent } from "../../lab/agent.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { defineCase } from "../case.ts";
import { cidrs, inWords } from "../cidrs.ts";
import { duration, median, megabytes, percent } from "../figure.ts";
import { type Cpu, cpuOf, memoryOf } from "../process-tree.ts";
import { Paths } from "../wire/paths.ts";

/** Number of changes, by length of the list. */
const CHANGES: ReadonlyMap<number, number> = new Map([
  [64, 10],
  [1000, 10],
  [10_000, 5],
  [100_000, 2],
]);
const FOLDER = "/run/change";

interface Changed {
  readonly size: number;
  /** The agent's CPU from its start to its rules in force. */
  readonly first: Cpu;
  /** The mean of one change. */
  readonly change: Cpu;
  /** Seconds from save to rules in force, one per change. */
  readonly times: readonly number[];
  /** The peak memory of agent and nft together, in bytes. */
  readonly peak: number;
}

export const change = defineCase(
  "One CIDR changed, in a running agent",
  async () => {
    const all: Changed[] = [];
    for (const [size, changes] of CHANGES) all.push(await changed(size, changes));
    return all;
  },
  all => {
    const cpu = ({ user, system }: Cpu) => `${duration(user)}, ${duration(system)}`;
    const share = (it: Changed | undefined) => (it ? it.change.system / it.first.system : Number.NaN);
    return {
      how: `nftables. The config is saved by rename with its last CIDR changed, several times (${all.map(({ times }) => times.length).join(", ")}). Time is measured from the save to the log line "rules applied", which the agent writes after it has read the rules back. CPU is the user and kernel time of agent and nft together.`,
      tables: [
        {
          columns: [
            "",
            "time",
            "CPU of a change",
            "CPU of the first load",
            "kernel time, share of the first load",
            "peak memory",
          ],
          rows: all.map(it => [
            inWords(it.size),
            duration(median(it.times)),
            cpu(it.change),
            cpu(it.first),
            percent(share(it)),
            megabytes(it.peak),
          ]),
        },
      ],
      targets: [
        {
          what: "kernel time of one changed CIDR in 10,000, as a share of the first load",
          peer: "all of it: the chain is written anew",
          marks: [{ value: share(all.find(({ size }) => size === 10_000)), must: 0.1, show: percent }],
        },
      ],
    };
  },
);

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
    await Bun.sleep(200); // lets the previous change settle
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
