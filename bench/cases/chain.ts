/** The cost of an agent that keeps the chain of iptables, by the program that writes it. */
import { mkdir, symlink } from "node:fs/promises";
import { BINARY, RunningAgent } from "../../lab/agent.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { defineCase } from "../case.ts";
import { cidrs, inWords } from "../cidrs.ts";
import { duration, mean, median } from "../figure.ts";
import { type Cpu, cpuOf } from "../process-tree.ts";
import { Paths } from "../wire/paths.ts";

const WRITERS = ["iptables-nft", "iptables-legacy", "nft"] as const;
type Writer = (typeof WRITERS)[number];
/** Number of changes, by length of the list. */
const CHANGES: ReadonlyMap<number, number> = new Map([
  [64, 5],
  [10_000, 3],
]);
/** Everything that follows a start or a change has ended after these times. */
const STARTED_SECONDS = 8;
const QUIET_SECONDS = 3;
const IDLE_SECONDS = 20;
const FOLDER = "/run/chain";
/** A PATH with nft alone. */
const ONLY_NFT = `${FOLDER}/nft-only`;

/** Seconds. */
interface Kept {
  readonly writer: Writer;
  readonly size: number;
  /** CPU from the start until all is quiet. */
  readonly first: number;
  /** Times from save to the log line, one per change. */
  readonly times: readonly number[];
  /** CPU of each change until all is quiet, without the CPU of an idle agent. */
  readonly changes: readonly number[];
  /** CPU per hour, without resyncs. */
  readonly idle: number;
}

export const chain = defineCase(
  "The chain of iptables, in a running agent",
  async () => {
    const all: Kept[] = [];
    for (const [size, changes] of CHANGES)
      for (const writer of WRITERS) all.push(await kept(writer, size, changes));
    return all;
  },
  all => ({
    how: `The agent keeps the chain by each of its writers. "First load" is its CPU, programs included, until ${STARTED_SECONDS} s after the rules are in force. A change saves the config by rename with its last CIDR changed; its time ends with the log line "rules applied", and its CPU includes all that follows within ${QUIET_SECONDS} s, without the CPU of an idle agent. "Idle hour" is extrapolated from ${IDLE_SECONDS} s without a resync; iptables-legacy is polled every second.`,
    tables: [
      {
        columns: ["", "first load, CPU", "one CIDR changed, time", "CPU", "idle hour, CPU"],
        rows: all.map(({ writer, size, first, times, changes, idle }) => [
          `${writer}, ${inWords(size)}`,
          duration(first),
          duration(median(times)),
          duration(mean(changes)),
          duration(idle),
        ]),
      },
    ],
  }),
);

async function kept(writer: Writer, size: number, changes: number): Promise<Kept> {
  await using paths = await Paths.create();
  const { node } = await paths.add();
  const list = (last: number) => [...cidrs(size).slice(1), `192.168.${last}.0/28`];
  const folder = `${FOLDER}/${writer}-${size}`;
  const flags = ["--backend=iptables", `--config=${await saveConfig(list(0), folder)}`];
  const agent = RunningAgent.start(node, [...flags, "--resync-interval=2h"], await commandOf(writer, node));
  const cpu = () => sum(cpuOf(agent.program.pid));
  await agent.log.until("policy in force");
  await Bun.sleep(1000 * STARTED_SECONDS);
  const first = cpu();
  await Bun.sleep(1000 * IDLE_SECONDS);
  const idle = (cpu() - first) / IDLE_SECONDS;
  const times: number[] = [];
  const costs: number[] = [];
  for (let i = 1; i <= changes; i++) {
    const [began, before] = [performance.now(), cpu()];
    await saveConfig(list(i), folder);
    await agent.log.until(/rules applied added=1 removed=1\b/);
    times.push((performance.now() - began) / 1000);
    await Bun.sleep(1000 * QUIET_SECONDS);
    costs.push(cpu() - before - (idle * (performance.now() - began)) / 1000);
  }
  await agent.end();
  return { writer, size, first, times, changes: costs, idle: 3600 * idle };
}

/** Makes the agent choose the writer. */
async function commandOf(writer: Writer, node: Namespace): Promise<string[]> {
  if (writer !== "nft") {
    await node.output([writer, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
    return [BINARY];
  }
  await mkdir(ONLY_NFT, { recursive: true });
  await symlink(`${Bun.which("nft")}`, `${ONLY_NFT}/nft`).catch(() => {}); // it exists
  return ["/usr/bin/env", `PATH=${ONLY_NFT}`, BINARY];
}

function sum({ user, system }: Cpu): number {
  return user + system;
}
