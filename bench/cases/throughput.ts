/** How many new connections a second one core of a node takes, by the length of the list. */

import { messageOf } from "../../src/system/errors.ts";
import { ProgramError } from "../../src/system/program.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { FORWARDING, PLAIN } from "../baselines/references.ts";
import { addressIn, cidrs, OUTBOUND } from "../cidrs.ts";
import type { Benchmark } from "../result.ts";
import { type Passed, type Path, Paths } from "../wire/paths.ts";
import { SENDERS } from "../wire/slice.ts";
import { reportThroughput } from "./throughput-report.ts";
import { BASELINES, MATCHES, type Match, SIZES, type Tried } from "./tried.ts";

/** A slice ends after so many flows or so many ms: 20,000 take 35 ms where nobody walks through a list. */
const FLOWS = 20_000;
const LIMIT_MS = 40;
const ROUNDS = 9;
/** Where the list is walked through, differences are by factors, and few rounds tell them. */
const LINEAR_ROUNDS = 3;

export async function throughput(): Promise<Benchmark> {
  const tried: Tried[] = [];
  const clock = new Clock();
  for (const size of SIZES) {
    await using paths = await Paths.create();
    const list = cidrs(size);
    const lanes: { baseline: Baseline; path: Path; rates: Tried["rates"] }[] = [];
    for (const baseline of BASELINES) {
      const path = await paths.add();
      const failure = await install(baseline, path, list);
      const rates = { udp: byMatch(), tcp: byMatch(), socket: byMatch() };
      tried.push({ baseline: baseline.name, size, rates, ...(failure === undefined ? {} : { failure }) });
      if (failure === undefined) lanes.push({ baseline, path, rates });
    }
    // The first round warms up.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const sender of SENDERS) {
        for (const match of sender === "socket" ? (["none"] as const) : MATCHES) {
          for (const { baseline, path, rates } of lanes) {
            if (baseline.linear && round > LINEAR_ROUNDS) continue;
            const passed = await paths.send(path, sender, destination(match, size), FLOWS, LIMIT_MS);
            mustBeRight(baseline, match, passed);
            clock.tick(passed);
            if (round > 0) rates[sender][match].push((1000 * passed.arrived) / clock.timeOf(passed));
          }
        }
      }
    }
  }
  return reportThroughput(
    tried,
    `Each figure is the median of ${ROUNDS} slices of ${FLOWS.toLocaleString("en-US")} flows or ${LIMIT_MS} ms (${LINEAR_ROUNDS} for the chains), taken in turns, by the CPU time of the sender, or by the clock where the kernel does not count softirqs to it.`,
  );
}

/**
 * What a slice took. The sender's own CPU time is better than what passed, for others may run on its core; but only
 * a kernel without CONFIG_IRQ_TIME_ACCOUNTING counts to the sender what the node does in softirqs meanwhile. There
 * the sender is seen to use its core wholly, in some slice of the first round.
 */
class Clock {
  #busiest = 0;

  tick({ took, cpu }: Passed): void {
    this.#busiest = Math.max(this.#busiest, cpu / took);
  }

  timeOf({ took, cpu }: Passed): number {
    return this.#busiest > 0.8 ? cpu : took;
  }
}

function byMatch(): Record<Match, number[]> {
  return { first: [], last: [], none: [] };
}

/** Returns why it failed, if it did. */
async function install(
  baseline: Baseline,
  { node }: Path,
  list: readonly string[],
): Promise<string | undefined> {
  const run = (argv: readonly string[], input?: string) => node.run(argv, input);
  try {
    await baseline.prepare?.(run);
    await baseline.sync(run, list, `/run/bench/${node.name}`);
    return undefined;
  } catch (error) {
    if (error instanceof ProgramError) return error.remedy; // it was killed
    return messageOf(error);
  }
}

function destination(match: Match, size: number): string {
  if (match === "none") return OUTBOUND;
  return addressIn(match === "first" ? 0 : size - 1);
}

/** A figure is worth nothing if the baseline did not do the work. */
function mustBeRight({ name }: Baseline, match: Match, { masqueraded, sent, arrived }: Passed): void {
  const wanted = name === FORWARDING.name ? 0 : match === "none" || name === PLAIN.name ? 1 : 0;
  if (masqueraded === wanted && arrived > 0.99 * sent) return;
  throw new Error(
    `${name}: of ${sent} flows ${arrived} arrived, ${100 * masqueraded} % masqueraded, not ${100 * wanted} %`,
  );
}
