import type { Comparison } from "../backends/backend.ts";
import type { Failover } from "../backends/failover.ts";
import type { Policy } from "../policy/policy.ts";
import { within } from "../system/timing.ts";

/** Gives access to the rules in the kernel: to one sync at a time, and to readers of counters between syncs. */
export class KernelAccess {
  /** The last sync; it never rejects. */
  #sync: Promise<unknown> = Promise.resolve();
  #syncs = 0;
  /** The last read of counters; it never rejects. */
  #read: Promise<unknown> = Promise.resolve();

  constructor(readonly backend: Pick<Failover, "compare">) {}

  /** Runs a sync after the previous one, and after a short wait for a read in progress. Rejects if `work` rejects. */
  sync<T>(work: () => Promise<T>): Promise<T> {
    this.#syncs++;
    const result = this.#sync.then(() => within(READ_MS, this.#read)).then(work);
    this.#sync = result.catch(() => {});
    return result;
  }

  /**
   * Reads the rules of a policy with their counters, without delaying a sync. Throws the errors of reading.
   *
   * @returns undefined if a sync began meanwhile, because the result may be outdated, and for long lists, which cost
   *   as much to read as a sync
   */
  async readCounters(policy: Policy): Promise<Comparison | undefined> {
    if (cidrsOf(policy) > MOST_COUNTED) return undefined;
    await this.#sync;
    const syncs = this.#syncs;
    const reading = this.backend.compare(policy);
    this.#read = reading.catch(() => {});
    const comparison = await reading;
    return syncs === this.#syncs ? comparison : undefined;
  }
}

function cidrsOf({ families }: Policy): number {
  return families.reduce(
    (sum, { nonMasquerade, masquerade }) =>
      sum + nonMasquerade.effective.length + masquerade.effective.length,
    0,
  );
}

/** How long a sync waits for a read of counters in progress, in milliseconds. */
const READ_MS = 250;
/** Reading 10,000 CIDRs takes 0.4 s, and 60 MB in nft and the agent. */
const MOST_COUNTED = 10_000;
