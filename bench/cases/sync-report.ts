import { IPMASQ } from "../baselines/ipmasq.ts";
import type { Chart } from "../chart.ts";
import { inWords, shortfalls } from "../cidrs.ts";
import type { Comparison, Entry } from "../comparison.ts";
import { duration, median, megabytes, number, plusMinus, ratios, spread } from "../figure.ts";
import type { Cost } from "../meter.ts";
import type { Benchmark, Table } from "../result.ts";
import type { Target } from "../targets.ts";
import { BASELINES, SIZES, STEPS, type Step, type Synced } from "./synced.ts";

const STEP_NAMES = { first: "first load", same: "no change", one: "one CIDR changed" } as const;
const COUNTED = SIZES.map(size => inWords(size));

export function reportSync(synced: readonly Synced[]): Benchmark {
  const syncs = new Syncs(synced);
  return {
    title: "Sync",
    how: `From the config file, or for those who read none from the list in memory, to the kernel; ipmasq as \`run --once\`, which starts the program, checks the config and reads back what it wrote; "RETURN chain" is the calls of ip-masq-agent without the program that makes them. In turns, in a fresh namespace each round: first load, the same list again, and the list with one CIDR changed. Time is from the start of the first program to the end of the last; CPU is that of all, kernel time their system time; memory is the most that was resident at once, and is not seen of what ends within 2 ms.`,
    tables: [
      ...STEPS.map(step => syncs.table(step, "time", cost => cost.wall, duration)),
      ...STEPS.map(step => syncs.table(step, "CPU", cost => cost.user + cost.system, duration)),
      syncs.kernel(),
      syncs.table("first", "memory", cost => cost.peak, megabytes),
    ],
    charts: [syncs.chart("first"), syncs.chart("one")],
    comparisons: syncs.comparisons(),
    targets: syncs.targets(),
    notes: shortfalls(synced),
    raw: synced,
  };
}

/** What was measured, and what it comes to. */
class Syncs {
  constructor(private readonly synced: readonly Synced[]) {}

  table(step: Step, name: string, value: (cost: Cost) => number, shown: (value: number) => string): Table {
    return {
      caption: `${STEP_NAMES[step]}, ${name}; in brackets the ratio to ipmasq nftables`,
      columns: ["", ...COUNTED, "spread"],
      rows: BASELINES.map(baseline => {
        const values = SIZES.map(size =>
          this.#costs(baseline.name, size, step)
            .map(value)
            .filter(it => it > 0),
        );
        const cells = values.map((all, i) => {
          const ours = this.#costs(IPMASQ.name, SIZES[i] ?? 0, step).map(value);
          return all.length === 0 ? "–" : `${shown(median(all))} (${number(median(ratios(all, ours)))})`;
        });
        return [
          baseline.name,
          ...cells,
          plusMinus(Math.max(...values.filter(it => it.length > 1).map(spread))),
        ];
      }),
    };
  }

  /** Where it is long enough: the kernel tells it from user time by looking 100 to 1,000 times a second. */
  kernel(): Table {
    const sizes = SIZES.filter(size => size >= 1000);
    return {
      caption:
        "Kernel time, the mean: first load, no change, one CIDR changed; and the last as a share of the first",
      columns: ["", ...sizes.map(size => inWords(size))],
      rows: BASELINES.map(({ name }) => [
        name,
        ...sizes.map(size => {
          const times = STEPS.map(step => this.#kernel(name, size, step)).filter(time => !Number.isNaN(time));
          const share = times.length < STEPS.length ? "" : `; ${number(100 * this.#share(name, size))} %`;
          return `${times.map(duration).join(", ")}${share}`;
        }),
      ]),
    };
  }

  chart(step: "first" | "one"): Chart {
    return {
      name: `sync-${step}`,
      title: `Time of a sync: ${STEP_NAMES[step]}`,
      x: "CIDRs",
      y: "seconds",
      series: BASELINES.map(({ name, ours }) => ({
        name,
        ours,
        points: SIZES.flatMap(x => {
          const costs = this.#costs(name, x, step);
          return costs.length === 0 ? [] : [{ x, y: median(costs.map(cost => cost.wall)) }];
        }),
      })).filter(({ points }) => points.length > 0),
    };
  }

  comparisons(): Comparison[] {
    return STEPS.flatMap(step =>
      SIZES.flatMap(size => {
        const entry = (name: string, value: (cost: Cost) => number): Entry => ({
          name,
          samples: this.#costs(name, size, step).map(value),
        });
        const of = (what: string, value: (cost: Cost) => number): Comparison => ({
          what: `Sync, ${STEP_NAMES[step]}, ${what}`,
          at: inWords(size),
          better: "less",
          ours: entry(IPMASQ.name, value),
          others: BASELINES.filter(({ ours }) => !ours)
            .map(({ name }) => entry(name, value))
            .filter(({ samples }) => samples.length > 0 && samples.every(sample => sample > 0)),
        });
        return [
          of("time", cost => cost.wall),
          of("CPU", cost => cost.user + cost.system),
          of("memory", cost => cost.peak),
        ];
      }),
    );
  }

  targets(): Target[] {
    const first = (size: number, must: [number, number], aim: [number, number]): Target => {
      const ours = this.#costs(IPMASQ.name, size, "first");
      const value = (of: (cost: Cost) => number) => median(ours.map(of));
      return {
        what: `${inWords(size)}: config file to kernel, one sync, read back included; agent and nft together`,
        peer: this.#peer(size),
        marks: [
          {
            of: "time",
            unit: "s",
            better: "less",
            value: value(cost => cost.wall),
            must: must[0],
            aim: aim[0],
          },
          {
            of: "memory",
            unit: "bytes",
            better: "less",
            value: value(cost => cost.peak),
            must: must[1],
            aim: aim[1],
          },
        ],
      };
    };
    return [first(10_000, [1, 150e6], [0.5, 100e6]), first(100_000, [8, 600e6], [4, 400e6])];
  }

  /** What ip-masq-agent itself needs where it was measured. */
  #peer(size: number): string {
    const measured = BASELINES.filter(({ name }) => name.startsWith("ip-masq-agent")).map(({ name }) => {
      const costs = this.#costs(name, size, "first");
      const [time, memory] = [median(costs.map(it => it.wall)), median(costs.map(it => it.peak))];
      const variant = name.replace("ip-masq-agent, ", "");
      return costs.length === 0
        ? `${variant}: does not get there`
        : `${variant}: ${duration(time)}, ${megabytes(memory)}`;
    });
    return measured.join("; ") || "not measured";
  }

  #share(baseline: string, size: number): number {
    return this.#kernel(baseline, size, "one") / this.#kernel(baseline, size, "first");
  }

  #kernel(baseline: string, size: number, step: Step): number {
    const times = this.#costs(baseline, size, step).map(cost => cost.system);
    return times.reduce((sum, time) => sum + time, 0) / times.length;
  }

  #costs(baseline: string, size: number, step: Step): readonly Cost[] {
    return this.synced.find(it => it.baseline === baseline && it.size === size)?.costs[step] ?? [];
  }
}
