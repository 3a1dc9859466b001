/** The cost of bringing a list into the kernel: a first time, again, and with one CIDR changed. */
import { messageOf } from "../../src/system/errors.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { IPMASQ, IPMASQ_IPTABLES } from "../baselines/ipmasq.ts";
import { REAL } from "../baselines/real.ts";
import { ANONYMOUS, CHAINS, KINDNET } from "../baselines/rules.ts";
import { defineCase, type Report } from "../case.ts";
import { cidrs, failures, inWords } from "../cidrs.ts";
import { duration, median, megabytes, percent, spread, times } from "../figure.ts";
import { type Cost, Meter } from "../meter.ts";
import type { Table } from "../run.ts";
import type { Mark, Target } from "../targets.ts";
import { Paths } from "../wire/paths.ts";

const BASELINES = [IPMASQ, ...IPMASQ_IPTABLES, ANONYMOUS, KINDNET, ...CHAINS, ...REAL];
const STEPS = { first: "first load", same: "no change", one: "one CIDR changed" } as const;
type Step = keyof typeof STEPS;

/** Rounds by size. A chain of 100,000 rules is only loaded once: each load takes up to 20 s. */
const ROUNDS: ReadonlyMap<number, number> = new Map([
  [4, 5],
  [64, 5],
  [1000, 5],
  [10_000, 3],
  [100_000, 2],
]);
const SIZES = [...ROUNDS.keys()];
const MOST_FOR_CHAINS = 10_000;

/** The costs of one baseline for lists of one length, one per round. */
interface Synced {
  readonly baseline: string;
  readonly size: number;
  /** Why it failed. */
  failure?: string;
  readonly costs: Readonly<Record<Step, Cost[]>>;
}

export const sync = defineCase("Sync", measure, report);

async function measure(): Promise<Synced[]> {
  const all: Synced[] = [];
  for (const [size, rounds] of ROUNDS) {
    const synced = BASELINES.map(
      ({ name }): Synced => ({ baseline: name, size, costs: { first: [], same: [], one: [] } }),
    );
    all.push(...synced);
    for (let round = 0; round < rounds; round++) {
      await using paths = await Paths.create();
      for (const [i, baseline] of BASELINES.entries()) {
        const result = synced[i];
        const short = baseline.linear && size > MOST_FOR_CHAINS;
        if (result === undefined || result.failure !== undefined || (short && round > 0)) continue;
        await tryOut(baseline, paths, result, short ? ["first"] : ["first", "same", "one"]).catch(error => {
          result.failure = messageOf(error);
        });
      }
    }
  }
  return all;
}

async function tryOut(
  baseline: Baseline,
  paths: Paths,
  { size, costs }: Synced,
  steps: readonly Step[],
): Promise<void> {
  const { node } = await paths.add();
  const before = cidrs(size);
  const after = [...before.slice(1), "192.168.7.0/28"];
  await baseline.prepare?.(new Meter(node).run);
  for (const step of steps) {
    const meter = new Meter(node);
    await baseline.sync(meter.run, step === "one" ? after : before, `/run/bench/${node.name}`);
    const { wall, ...rest } = meter.cost;
    costs[step].push({ wall: wall - (baseline.tail ?? 0), ...rest });
  }
}

const QUANTITIES = {
  time: { of: (cost: Cost) => cost.wall, show: duration },
  CPU: { of: (cost: Cost) => cost.user + cost.system, show: duration },
  memory: { of: (cost: Cost) => cost.peak, show: megabytes },
} as const;
type Quantity = keyof typeof QUANTITIES;

function report(all: readonly Synced[]): Report {
  const names = [...new Set(all.map(({ baseline }) => baseline))];
  const samples = (name: string, size: number, step: Step, of: (cost: Cost) => number): number[] =>
    all.find(it => it.baseline === name && it.size === size)?.costs[step].map(of) ?? [];
  const shown = (name: string, size: number, step: Step, quantities: readonly Quantity[]) =>
    quantities
      .map(it => QUANTITIES[it].show(median(samples(name, size, step, QUANTITIES[it].of))))
      .join(", ")
      .replace(/^– .*/, "–");
  const table = (step: Step, ...quantities: Quantity[]): Table => ({
    caption: `${STEPS[step]}: ${quantities.join(", ")}`,
    columns: ["", ...SIZES.map(inWords), "spread of time"],
    rows: names.map(name => {
      const spreads = SIZES.map(size => samples(name, size, step, QUANTITIES.time.of)).filter(
        it => it.length > 1,
      );
      return [
        name,
        ...SIZES.map(size => shown(name, size, step, quantities)),
        `± ${percent(Math.max(...spreads.map(spread)))}`,
      ];
    }),
  });
  const firstLoad = (): Target => {
    const peer = REAL[0]?.name ?? "ip-masq-agent, iptables-nft";
    const mark = (of: "time" | "CPU", must: number): Mark => {
      const [ours, theirs] = [IPMASQ.name, peer].map(name =>
        median(samples(name, 10_000, "first", QUANTITIES[of].of)),
      );
      return { of, value: (ours ?? Number.NaN) / (theirs ?? Number.NaN), must, aim: 1, show: times };
    };
    return {
      what: `first load of ${inWords(10_000)}, \`run --once\`, beside ${peer}`,
      peer: shown(peer, 10_000, "first", ["time", "CPU"]),
      marks: [mark("time", 1.25), mark("CPU", 1.3)],
    };
  };
  return {
    how: `Each sync reads the config file, or a list in memory for baselines that read no file, and writes the rules. ipmasq runs as \`run --once\`: it starts, checks the config and reads the written rules back. "RETURN chain" runs the commands of ip-masq-agent without the agent. The programs take turns, in a fresh namespace per round. Time is measured from the start of the first program to the end of the last. CPU is the time of all programs. Memory is the peak of resident memory, sampled every 2 ms.${failures(all)}`,
    tables: [table("first", "time", "CPU", "memory")],
    comparisons: (["first", "same", "one"] as const).flatMap(step =>
      SIZES.flatMap(size =>
        Object.entries(QUANTITIES).map(([quantity, { of }]) => ({
          what: `Sync, ${STEPS[step]}, ${quantity}`,
          at: inWords(size),
          better: "less" as const,
          ours: samples(IPMASQ.name, size, step, of),
          others: names
            .filter(name => !name.startsWith("ipmasq"))
            .map(name => [name, samples(name, size, step, of)] as const)
            .filter(([, costs]) => costs.length > 0 && costs.every(cost => cost > 0)),
        })),
      ),
    ),
    targets: [firstLoad()],
  };
}
