/**
 * How long the agent waits after what did not go well. A sync that failed is tried again after a second, and
 * then after twice as long each time; rules that somebody changes again and again are repaired at once at
 * first, and then less and less often. The resync interval bounds both.
 */
export class Pace {
  /** Syncs in a row that failed. */
  failures = 0;
  /** Repairs that followed one another closely. */
  repairs = 0;
  #lastRepair = Number.NEGATIVE_INFINITY;

  /** @param interval the resync interval, in milliseconds */
  constructor(public interval: number) {}

  /** Notes a sync that failed, went well, or repaired rules. Times are milliseconds of one clock. */
  failed(): void {
    this.failures++;
  }

  succeeded(): void {
    this.failures = 0;
  }

  repaired(now: number): void {
    this.repairs = this.calm(now) ? 1 : this.repairs + 1;
    this.#lastRepair = now;
  }

  /** Whether it is long since that somebody changed our rules. */
  calm(now: number): boolean {
    return now - this.#lastRepair > Math.max(CALM_MS, 2 * this.repairWait);
  }

  /** Whether somebody is at work against us. */
  get fighting(): boolean {
    return this.repairs > QUICK_REPAIRS;
  }

  /** Milliseconds until the next sync at the latest. */
  get wait(): number {
    return this.failures > 0 ? this.#doubled(this.failures) : this.interval;
  }

  /** Milliseconds until changes of the kernel are answered again. */
  get hold(): number {
    return this.failures > 0 ? this.wait : this.repairWait;
  }

  /** Milliseconds that a repair waits for in a fight. */
  get repairWait(): number {
    return this.fighting ? this.#doubled(this.repairs - QUICK_REPAIRS) : 0;
  }

  #doubled(times: number): number {
    return Math.min(FIRST_MS * 2 ** (times - 1), this.interval);
  }
}

const FIRST_MS = 1000;
const QUICK_REPAIRS = 5;
const CALM_MS = 10_000;
