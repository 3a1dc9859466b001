import { retryDelay } from "../system/timing.ts";

/**
 * How long the agent waits after failed syncs and between repairs of contested rules. All times are milliseconds of a
 * monotonic clock.
 *
 * - A failed sync is retried after 1 s, then after twice as long each time, up to 15 s.
 * - Repairs are immediate. Repairs of contested rules begin 1 s apart: not later, because connections get wrong
 *   addresses between repairs.
 *
 * A shorter resync interval limits both.
 */
export class Backoff {
  /** Consecutive failed syncs. */
  failures = 0;
  /** Consecutive repairs less than 10 s apart. */
  repairs = 0;
  #lastRepair = Number.NEGATIVE_INFINITY;
  /** Consecutive repairs that another program prevented, or undid before they were verified. */
  #undone = 0;
  /** How long the last sync took. */
  #took = 0;

  constructor(public resyncInterval: number) {}

  /**
   * Records a failed sync. While the rules are contested, it counts as an undone repair, because the other program is
   * the likely cause.
   *
   * @param now the time when the sync ended
   * @param took the duration of the sync
   */
  failed(now: number, took: number): void {
    this.#took = took;
    if (this.contested && !this.isCalm(now)) this.#undone++;
    else {
      this.failures++;
      this.#undone = 0;
    }
  }

  /** Records a successful sync. After a sync that repaired drift, also call {@link repaired}. */
  succeeded(): void {
    this.failures = 0;
    this.#undone = 0;
  }

  /** Records a repair; for the arguments see {@link failed}. */
  repaired(now: number, took: number): void {
    this.repairs = this.isCalm(now) ? 1 : this.repairs + 1;
    this.#lastRepair = now;
    this.#took = took;
  }

  /** Records a repair that another program undid before it was verified; for the arguments see {@link failed}. */
  undone(now: number, took: number): void {
    this.repaired(now, took);
    this.failures = 0;
    this.#undone++;
  }

  /** Records that the rules are no longer contested. */
  calmedDown(): void {
    this.repairs = 0;
  }

  /** Whether the last 10 s passed without a repair. */
  isCalm(now: number): boolean {
    return now - this.#lastRepair > CALM_MS;
  }

  /** Whether another program keeps changing our rules. */
  get contested(): boolean {
    return this.repairs > QUICK_REPAIRS || this.#undone > 0;
  }

  /** How long a sync repeats writes that another program prevents or undoes. */
  get rewriteTime(): number {
    return this.contested ? CONTESTED_REWRITE_MS : 0;
  }

  /** The longest time until the next sync. */
  get nextSync(): number {
    if (this.failures > 0) return retryDelay(this.failures, FIRST_MS, Math.min(LAST_MS, this.resyncInterval));
    if (this.#undone > 0) return this.#repairDelay;
    // Milliseconds between checks of contested rules, for kernels that report no changes.
    return this.contested ? Math.min(CONTESTED_MS, this.resyncInterval) : this.resyncInterval;
  }

  /** The time until a change of the kernel may start a sync. */
  get nextRepair(): number {
    if (this.failures > 0) return this.nextSync;
    return this.contested ? this.#repairDelay : 0;
  }

  get #repairDelay(): number {
    const longest = Math.min(CONTESTED_MS, this.resyncInterval);
    if (this.#undone === 0) return Math.round(Math.max(longest - this.#took, 0));
    // At least as long as the sync took, because the kernel may never keep the written rules.
    const delay = retryDelay(Math.max(this.#undone - QUICK_UNDONE, 1), UNDONE_MS, longest);
    return Math.round(Math.min(Math.max(delay, this.#took), longest));
  }
}

const FIRST_MS = 1000;
const LAST_MS = 15_000;
/** Repairs in a row before the rules count as contested. */
const QUICK_REPAIRS = 5;
/** Half of the target of two seconds, which leaves time for a sync that is slower than the last sync. */
const CONTESTED_MS = 1000;
/** Measured on a busy machine: a program that flushes ten times a second prevents every third attempt. */
const CONTESTED_REWRITE_MS = 500;
/** The delay is short enough for several attempts within the target of two seconds. */
const UNDONE_MS = 250;
const QUICK_UNDONE = 3;
const CALM_MS = 10_000;
