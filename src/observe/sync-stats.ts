import type { FailureKind } from "../system/program.ts";

/** Why a sync runs. */
export type Trigger = "start" | "config" | "address" | "kernel" | "interval" | "signal";

/** One sync and its result. */
export interface SyncRecord {
  /** When it started, in milliseconds since 1970. */
  readonly at: number;
  /** The first of its triggers. */
  readonly trigger: Trigger;
  readonly result: "unchanged" | "applied" | "repaired" | "failed";
  readonly seconds: number;
  /** For a failure: the reason and the remedy. For a repair: the drift that was found. */
  readonly message?: string;
  /** The kind of failure, if a program failed. */
  readonly failure?: FailureKind | undefined;
}

/** Upper bounds in seconds. A sync of the defaults takes 15 ms, one of 100,000 CIDRs some seconds. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** Counts and durations of all syncs since the agent started. */
export class SyncStats {
  repairs = 0;
  /** The sum of all durations, in seconds. */
  seconds = 0;
  count = 0;
  readonly #byTrigger = new Map<Trigger, Map<SyncRecord["result"], number>>();
  /** Syncs by the first bound that they do not exceed. */
  readonly #byBound = BOUNDS.map(() => 0);

  add({ trigger, result, seconds }: SyncRecord): void {
    const results = this.#byTrigger.get(trigger) ?? new Map<SyncRecord["result"], number>();
    results.set(result, (results.get(result) ?? 0) + 1);
    this.#byTrigger.set(trigger, results);
    if (result === "repaired") this.repairs++;
    this.count++;
    this.seconds += seconds;
    const bucket = BOUNDS.findIndex(bound => seconds <= bound);
    if (bucket >= 0) this.#byBound[bucket] = (this.#byBound[bucket] ?? 0) + 1;
  }

  /** Syncs by trigger and result; combinations that did not occur are left out. */
  *byOutcome(): Generator<{ trigger: Trigger; result: SyncRecord["result"]; count: number }> {
    for (const [trigger, results] of this.#byTrigger)
      for (const [result, count] of results) yield { trigger, result, count };
  }

  /** Syncs that took at most as long as each bound, in seconds; the last bound is infinite. */
  *cumulative(): Generator<{ bound: number; count: number }> {
    let count = 0;
    for (const [i, bound] of BOUNDS.entries()) {
      count += this.#byBound[i] ?? 0;
      yield { bound, count };
    }
    yield { bound: Number.POSITIVE_INFINITY, count: this.count };
  }
}
