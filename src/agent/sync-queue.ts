import type { Trigger } from "../observe/sync-stats.ts";

/** The triggers of one sync, in order of arrival. */
export interface SyncRequest {
  readonly triggers: readonly [Trigger, ...Trigger[]];
  /** The program that changed our rules in the kernel, if known. */
  readonly by: string | undefined;
}

/**
 * Decides when the next sync runs: as soon as possible after a trigger, and at least once per interval. Repairs wait
 * for their delay. Triggers that arrive during a sync are combined into one request.
 */
export class SyncQueue {
  readonly #waiting = new Set<Trigger>();
  #by: string | undefined;
  /** The time of the next sync without a trigger. */
  #due = Number.POSITIVE_INFINITY;
  #wake: () => void = () => {};

  /** @param by the program that changed our rules, if known */
  push(trigger: Trigger, by?: string): void {
    this.#waiting.add(trigger);
    this.#by = by ?? this.#by;
    this.#wake();
  }

  /**
   * Waits for the next request.
   *
   * @param latest the maximum wait in milliseconds; after it, `interval` becomes the trigger. It continues across syncs
   *   that rely on memory, so that these do not delay a comparison with the kernel.
   * @param repairDelay the delay in milliseconds of a sync whose only trigger is a change of the kernel
   */
  async next(latest: number, repairDelay: number): Promise<SyncRequest> {
    const began = performance.now();
    this.#due = Math.min(this.#due, began + latest);
    const until = (time: number) => Math.max(time - performance.now(), 0);
    for (;;) {
      const [first, ...others] = this.#waiting;
      const mustWait = first === "kernel" && others.length === 0 && until(began + repairDelay) > 0;
      if (first && !mustWait) {
        const request: SyncRequest = { triggers: [first, ...others], by: this.#by };
        if (!reliesOnMemory(request)) this.#due = Number.POSITIVE_INFINITY;
        this.#waiting.clear();
        this.#by = undefined;
        return request;
      }
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      const timer = mustWait
        ? setTimeout(woken.resolve, until(began + repairDelay))
        : setTimeout(() => this.push("interval"), until(this.#due));
      await woken.promise;
      clearTimeout(timer);
    }
  }
}

/** Whether a sync may rely on the remembered rules: only the config or the node's addresses changed. */
export function reliesOnMemory({ triggers }: Pick<SyncRequest, "triggers">): boolean {
  return triggers.every(it => it === "config" || it === "address");
}
