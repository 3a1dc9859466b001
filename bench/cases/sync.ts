/** What it costs to bring a list into the kernel: for the first time, again, and with one CIDR changed. */

import { messageOf } from "../../src/system/errors.ts";
import { cidrs } from "../cidrs.ts";
import type { Contestant } from "../contestants/contestant.ts";
import { Meter } from "../meter.ts";
import type { Benchmark } from "../result.ts";
import { Roads } from "../wire/roads.ts";
import { reportSync } from "./sync-report.ts";
import { CONTESTANTS, MOST_FOR_CHAINS, ROUNDS, STEPS, type Step, type Synced } from "./synced.ts";

export async function sync(): Promise<Benchmark> {
  const all: Synced[] = [];
  for (const [size, rounds] of ROUNDS) {
    const synced = CONTESTANTS.map(
      ({ name }): Synced => ({ contestant: name, size, costs: { first: [], same: [], one: [] } }),
    );
    all.push(...synced);
    for (let round = 0; round < rounds; round++) {
      await using roads = await Roads.create();
      for (const [i, contestant] of CONTESTANTS.entries()) {
        const result = synced[i];
        const short = contestant.linear && size > MOST_FOR_CHAINS;
        if (result === undefined || result.failure !== undefined || (short && round > 0)) continue;
        await tryOut(contestant, roads, result, short ? ["first"] : STEPS).catch(error => {
          result.failure = messageOf(error);
        });
      }
    }
  }
  return reportSync(all);
}

async function tryOut(
  contestant: Contestant,
  roads: Roads,
  { size, costs }: Synced,
  steps: readonly Step[],
): Promise<void> {
  const { node } = await roads.add();
  const before = cidrs(size);
  const after = [...before.slice(1), "192.168.7.0/28"];
  await contestant.prepare?.(new Meter(node).run);
  for (const step of steps) {
    const meter = new Meter(node);
    await contestant.sync(meter.run, step === "one" ? after : before, `/run/bench/${node.name}`);
    const { wall, ...rest } = meter.cost;
    costs[step].push({ wall: wall - (contestant.tail ?? 0), ...rest });
  }
}
