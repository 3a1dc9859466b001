/** What it costs to bring a list into the kernel: for the first time, again, and with one CIDR changed. */

import { messageOf } from "../../src/system/errors.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { cidrs } from "../cidrs.ts";
import { Meter } from "../meter.ts";
import type { Benchmark } from "../result.ts";
import { Paths } from "../wire/paths.ts";
import { reportSync } from "./sync-report.ts";
import { BASELINES, MOST_FOR_CHAINS, ROUNDS, STEPS, type Step, type Synced } from "./synced.ts";

export async function sync(): Promise<Benchmark> {
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
        await tryOut(baseline, paths, result, short ? ["first"] : STEPS).catch(error => {
          result.failure = messageOf(error);
        });
      }
    }
  }
  return reportSync(all);
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
