import { retryDelay } from "../system/timing.ts";

/**
 * How long the agent waits after a sync that failed, and between repairs of contested rules. Times are milliseconds of
 * a monotonic clock.
 *
 * A failed sync is retried after 1 s, then after twice as long each time, up to 15 s. Repairs are immediate; those of
 * contested rules begin 1 s apart, because connections get wrong addresses between them. A shorter resync interval
 * bounds both.
 */
export class Backoff {
  /** Consecutive syncs that failed. */
  failures = 0;
  /** Consecutive repairs less than 10 s apart. */
  repairs = 0;
  #lastRepair = Number.NEGATIVE_INFINITY;
  /** Consecutive repairs that another program prevented, or undid before they were verified. */
  #undone = 0;
  /** How long the last sync took. */
  #took = 0;

  /** @param interval the resync interval, in milliseconds */
  constructor(public interval: number) {}

  /**
   * Notes a sync that failed. While the rules are contested it counts as undone, since the other program is the likely
   * cause.
   *
   * @param now when it ended
   * @param took how long it took
   */
  failed(now: number, took: number): void {
    this.#took = took;
    if (this.contested && !this.calm(now)) this.#undone++;
    else {
      this.failures++;
      this.#undone = 0;
    }
  }

  /** Notes a sync that succeeded, whatever it had to do. */
  succeeded(): void {
    this.failures = 0;
    this.#undone = 0;
  }

  /** Notes a repair; the arguments are those of {@link failed}. */
  repaired(now: number, took: number): void {
    this.repairs = this.calm(now) ? 1 : this.repairs + 1;
    this.#lastRepair = now;
    this.#took = took;
  }

  /** Notes a repair that another program undid before it was verified; the arguments are those of {@link failed}. */
  undone(now: number, took: number): void {
    this.repaired(now, took);
    this.failures = 0;
    this.#undone++;
  }

  /** Notes that the rules are no longer contested. */
  settled(): void {
    this.repairs = 0;
  }

  /** Whether the rules were left alone for 10 s. */
  calm(now: number): boolean {
    return now - this.#lastRepair > CALM_MS;
  }

  /** Whether another program keeps changing our rules. */
  get contested(): boolean {
    return this.repairs > QUICK_REPAIRS || this.#undone > 0;
  }

  /** Milliseconds for which a sync repeats writes that another program prevents or undoes. */
  get patience(): number {
    return this.contested ? CONTESTED_PATIENCE_MS : 0;
  }

  /** Time until the next sync at the latest. */
  get wait(): number {
    if (this.failures > 0) return retryDelay(this.failures, FIRST_MS, Math.min(LAST_MS, this.interval));
    if (this.#undone > 0) return this.#repairWait;
    // Also bounds the time between looks, for a kernel that reports no changes.
    return this.contested ? Math.min(CONTESTED_MS, this.interval) : this.interval;
  }

  /** Time until changes in the kernel are answered again. */
  get hold(): number {
    if (this.failures > 0) return this.wait;
    return this.contested ? this.#repairWait : 0;
  }

  get #repairWait(): number {
    const most = Math.min(CONTESTED_MS, this.interval);
    if (this.#undone > 0) {
      // At least as long as the sync took, in case the kernel never keeps what was written; at most the time between
      // repairs.
      const times = Math.max(this.#undone - QUICK_UNDONE, 1);
      const wait = Math.max(retryDelay(times, UNDONE_MS, most), this.#took);
      return Math.round(Math.min(wait, most));
    }
    return Math.round(Math.max(most - this.#took, 0));
  }
}

const FIRST_MS = 1000;
const LAST_MS = 15_000;
const QUICK_REPAIRS = 5;
/** Leaves a second of the promised two for a sync that takes longer than the last one. */
const CONTESTED_MS = 1000;
/** Measured on a busy machine: a program that flushes ten times a second prevents every third try. */
const CONTESTED_PATIENCE_MS = 500;
/** Short enough for several attempts within the promised two seconds. */
const UNDONE_MS = 250;
const QUICK_UNDONE = 3;
const CALM_MS = 10_000;
