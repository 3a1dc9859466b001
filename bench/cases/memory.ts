/** The memory of a Pod: idle, and while a long list changes. */
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { defineCase } from "../case.ts";
import { type GroupMemory, MemoryGroup } from "../cgroup.ts";
import { cidrs, DEFAULTS, inWords } from "../cidrs.ts";
import { duration, median, megabytes, number } from "../figure.ts";
import { untilQuiet } from "../process-tree.ts";
import { Paths } from "../wire/paths.ts";

const MIB = 2 ** 20;

interface Length {
  readonly size: number;
  /** In bytes. */
  readonly limit: number;
  readonly aim: number;
  readonly changes: number;
}

/** A full ConfigMap of 1 MiB, and the most that a config may have. */
const LENGTHS: readonly Length[] = [
  { size: 45_000, limit: 256 * MIB, aim: 200 * MIB, changes: 20 },
  { size: 100_000, limit: 512 * MIB, aim: 400 * MIB, changes: 5 },
];

const FOLDER = "/run/memory";
/** The agent is quiet if it uses less than this CPU in this time. */
const QUIET_MS = 2000;
const QUIET_CPU = 0.01;
const REST_MS = 15_000;
const LOOK_MS = 5;

interface Changed extends Length {
  /** The peak, in bytes. */
  readonly peak: GroupMemory;
  /** The agent at rest after the last change, in bytes. */
  readonly rest: GroupMemory;
  /** Seconds from save to rules in force, one per change. */
  readonly times: readonly number[];
}

interface Raw {
  readonly idle: GroupMemory;
  readonly changed: readonly Changed[];
}

export const memory = defineCase<Raw>(
  "Memory of a Pod",
  async () => {
    const atRest = await idle();
    const changed: Changed[] = [];
    for (const length of LENGTHS) changed.push(await withChanges(length));
    return { idle: atRest, changed };
  },
  ({ idle, changed }) => ({
    how: `nftables. The agent and nft run in a cgroup with a memory limit. One CIDR changes, several times (${changed.map(({ times }) => times.length).join(", ")}); after each change the measurement waits until the agent is quiet. If the kernel kills a process because of the limit, the measurement fails. Memory is what kubelet counts as the working set: usage without file pages that the kernel can drop at once, sampled every ${LOOK_MS} ms. The kernel's part has the rules.`,
    tables: [
      {
        columns: ["", "limit", "peak", "kernel's part", "at rest", "kernel's part", "save to rules in force"],
        rows: [
          ["defaults", "–", "–", "–", megabytes(idle.workingSet), megabytes(idle.kernel), "–"],
          ...changed.map(it => [
            inWords(it.size),
            mebibytes(it.limit),
            megabytes(it.peak.workingSet),
            megabytes(it.peak.kernel),
            megabytes(it.rest.workingSet),
            megabytes(it.rest.kernel),
            duration(median(it.times)),
          ]),
        ],
      },
    ],
    targets: [
      ...changed.map(({ size, limit, aim, changes, peak }) => ({
        what: `${inWords(size)} changed in a running agent, ${changes} times, with that memory limit: peak of the cgroup`,
        peer: "–",
        marks: [{ value: peak.workingSet, must: limit, aim, show: mebibytes }],
      })),
      {
        what: "working set of an idle Pod, defaults",
        peer: "–",
        marks: [{ value: idle.workingSet, must: 14e6, aim: 12e6, show: megabytes }],
      },
    ],
  }),
);

function mebibytes(bytes: number): string {
  return `${number(bytes / MIB)} MiB`;
}

async function withChanges(length: Length): Promise<Changed> {
  const { size, limit, changes } = length;
  const list = (last: number) => [...cidrs(size).slice(1), `192.168.${last}.0/28`];
  await saveConfig(list(0), FOLDER);
  return inGroup(`${size}`, limit, async (agent, group) => {
    let peak: GroupMemory = { workingSet: 0, kernel: 0 };
    const look = () => {
      const now = group.memory;
      if (now.workingSet > peak.workingSet) peak = now;
    };
    const looks = setInterval(look, LOOK_MS);
    const times: number[] = [];
    await agent.log.until("rules applied");
    await untilQuiet(agent.program.pid, QUIET_MS, QUIET_CPU);
    for (let i = 1; i <= changes; i++) {
      const began = performance.now();
      await saveConfig(list(i), FOLDER);
      await agent.log.until("rules applied");
      times.push((performance.now() - began) / 1000);
      await untilQuiet(agent.program.pid, QUIET_MS, QUIET_CPU);
      if (group.kills > 0) throw new Error(`the kernel killed ${group.kills} processes: too little memory`);
    }
    clearInterval(looks);
    return { ...length, peak, rest: group.memory, times };
  });
}

async function idle(): Promise<GroupMemory> {
  await saveConfig(DEFAULTS, FOLDER);
  const work = async (agent: RunningAgent, group: MemoryGroup) => {
    await agent.log.until("rules applied");
    await Bun.sleep(REST_MS);
    return group.memory;
  };
  return inGroup("idle", undefined, work, ["--listen=127.0.0.1:0"]);
}

/** Runs an agent on a fresh node, in a cgroup. */
async function inGroup<T>(
  name: string,
  limit: number | undefined,
  work: (agent: RunningAgent, group: MemoryGroup) => Promise<T>,
  more: readonly string[] = [],
): Promise<T> {
  await using paths = await Paths.create();
  const { node } = await paths.add();
  const group = MemoryGroup.create(name, limit);
  const flags = ["--backend=nftables", `--config=${FOLDER}`, ...more];
  const agent = RunningAgent.start(node, flags, group.command([BINARY]));
  try {
    return await work(agent, group);
  } finally {
    await agent.end();
    await Bun.sleep(500); // until nft has ended too
    await group.remove();
  }
}
