/** The cost of one changed CIDR in a running agent, beside ip-masq-agent's next sync. */
import { RunningAgent } from "../../lab/agent.ts";
import type { Namespace } from "../../lab/namespace.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { REAL } from "../baselines/real.ts";
import { defineCase } from "../case.ts";
import { cidrs, inWords } from "../cidrs.ts";
import { duration, mean, median, megabytes, times } from "../figure.ts";
import { Meter } from "../meter.ts";
import { memoryOf, runtimeOf, untilQuiet } from "../process-tree.ts";
import type { Mark, Target } from "../targets.ts";
import { Paths } from "../wire/paths.ts";

interface Length {
  readonly size: number;
  readonly changes: number;
  /** Must and aim as ratios to ip-masq-agent. */
  readonly goals?: { readonly time: Goal; readonly cpu: Goal };
}

type Goal = readonly [must: number, aim: number];

const LENGTHS: readonly Length[] = [
  { size: 64, changes: 8, goals: { time: [1.2, 1], cpu: [1.2, 1] } },
  { size: 1000, changes: 8 },
  // A fifth change of 10,000 would list the replaced sets, as the next resync does.
  { size: 10_000, changes: 4, goals: { time: [1, 0.8], cpu: [1.25, 1] } },
];

const FOLDER = "/run/change";
/** The agent is quiet if it uses less than this CPU in this time. */
const QUIET_MS = 500;
const QUIET_CPU = 0.002;

/** Seconds, one per change. */
interface Cost {
  readonly time: readonly number[];
  readonly cpu: readonly number[];
}

interface Changed {
  readonly size: number;
  readonly ours: Cost;
  /** ip-masq-agent's cost of a sync; empty if it was not measured. */
  readonly peer: Cost;
  /** The agent's CPU from its start until it is quiet, in seconds. */
  readonly first: number;
  /** The peak memory of agent and nft together, in bytes. */
  readonly peak: number;
}

export const change = defineCase(
  "One CIDR changed, in a running agent",
  async () => {
    const all: Changed[] = [];
    for (const length of LENGTHS) all.push(await changed(length));
    return all;
  },
  all => ({
    how: `nftables. The config is saved by rename with its last CIDR changed, several times (${all.map(({ ours }) => ours.time.length).join(", ")}). Time is measured from the save to the log line "rules applied". CPU is that of the agent and its programs until they are quiet. The full comparison at the next resync is not included. ip-masq-agent (iptables-nft) starts, syncs and is killed, in turns with ipmasq.`,
    tables: [
      {
        columns: [
          "",
          "time",
          "CPU",
          "ip-masq-agent: time",
          "CPU",
          "ratio: time",
          "CPU",
          "CPU of the first load",
          "peak memory",
        ],
        rows: all.map(it => [
          inWords(it.size),
          duration(median(it.ours.time)),
          duration(mean(it.ours.cpu)),
          duration(median(it.peer.time)),
          duration(mean(it.peer.cpu)),
          times(ratio(it, "time")),
          times(ratio(it, "cpu")),
          duration(it.first),
          megabytes(it.peak),
        ]),
      },
    ],
    targets: LENGTHS.flatMap(length => target(length, all)),
    comparisons: all
      .filter(({ peer }) => peer.time.length > 0)
      .flatMap(({ size, ours, peer }) =>
        (["time", "cpu"] as const).map(quantity => ({
          what: `One CIDR changed in a running agent, ${quantity === "cpu" ? "CPU" : "time"}`,
          at: inWords(size),
          better: "less" as const,
          ours: ours[quantity],
          others: [["ip-masq-agent, iptables-nft", peer[quantity]]] as const,
        })),
      ),
  }),
);

function ratio({ ours, peer }: Changed, quantity: keyof Cost): number {
  const typical = quantity === "time" ? median : mean;
  return typical(ours[quantity]) / typical(peer[quantity]);
}

function target({ size, goals }: Length, all: readonly Changed[]): Target[] {
  const it = all.find(changed => changed.size === size);
  if (!goals || !it) return [];
  const mark = (of: string, quantity: keyof Cost): Mark => {
    const [must, aim] = goals[quantity];
    return { of, value: ratio(it, quantity), must, aim, show: times };
  };
  return [
    {
      what: `one changed CIDR in ${size.toLocaleString("en-US")}, running agent, beside ip-masq-agent's sync`,
      peer: `${duration(median(it.peer.time))}, ${duration(mean(it.peer.cpu))} of CPU`,
      marks: [mark("time", "time"), mark("CPU", "cpu")],
    },
  ];
}

async function changed({ size, changes }: Length): Promise<Changed> {
  await using paths = await Paths.create();
  const { node } = await paths.add();
  const { node: other } = await paths.add();
  const list = (last: number) => [...cidrs(size).slice(1), `192.168.${last}.0/28`];
  const config = await saveConfig(list(0), FOLDER);
  const agent = await RunningAgent.started(node, ["--backend=nftables", `--config=${config}`]);
  const { pid } = agent.program;
  const first = await untilQuiet(pid, QUIET_MS, QUIET_CPU);
  let peak = 0;
  const looks = setInterval(() => {
    peak = Math.max(peak, memoryOf(pid).resident);
  }, 5);
  const ours = { time: [] as number[], cpu: [] as number[] };
  const peer = { time: [] as number[], cpu: [] as number[] };
  await peerSync(other, list(0)); // the first load
  for (let i = 1; i <= changes; i++) {
    const before = runtimeOf(pid);
    const began = performance.now();
    await saveConfig(list(i), FOLDER);
    await agent.log.until("rules applied");
    ours.time.push((performance.now() - began) / 1000);
    ours.cpu.push((await untilQuiet(pid, QUIET_MS, QUIET_CPU)) - before);
    const cost = await peerSync(other, list(i));
    if (!cost) continue;
    peer.time.push(cost.time);
    peer.cpu.push(cost.cpu);
  }
  clearInterval(looks);
  await agent.end();
  return { size, first, ours, peer, peak };
}

async function peerSync(
  node: Namespace,
  list: readonly string[],
): Promise<{ time: number; cpu: number } | undefined> {
  const [real] = REAL;
  if (!real) return undefined;
  const meter = new Meter(node);
  await real.sync(meter.run, list, "/run/bench/change");
  const { wall, user, system } = meter.cost;
  return { time: wall - (real.tail ?? 0), cpu: user + system };
}
