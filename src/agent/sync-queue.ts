import type { Trigger } from "../observe/agent-state.ts";

/** Triggers that came together, in the order in which they came. */
export interface SyncRequest {
  readonly triggers: readonly [Trigger, ...Trigger[]];
  /** Who changed our rules in the kernel, as far as that is known. */
  readonly by: string | undefined;
}

/**
 * Where triggers wait for the agent. Those that come while it is busy are one when it asks again, so many
 * changes make one sync.
 */
export class SyncQueue {
  readonly #waiting = new Set<Trigger>();
  #by: string | undefined;
  #wake: () => void = () => {};

  push(trigger: Trigger, by?: string): void {
    this.#waiting.add(trigger);
    this.#by = by ?? this.#by;
    this.#wake();
  }

  /**
   * All that wait, at least one: `interval`, if nothing else comes within `wait` milliseconds. Changes of the kernel
   * alone are held back for `hold` milliseconds.
   */
  async next(wait: number, hold: number): Promise<SyncRequest> {
    const began = performance.now();
    for (;;) {
      const left = (until: number) => Math.max(until - (performance.now() - began), 0);
      const [first, ...others] = this.#waiting;
      const held = others.length === 0 && first === "kernel" && left(hold) > 0;
      if (first && !held) {
        const request: SyncRequest = { triggers: [first, ...others], by: this.#by };
        this.#waiting.clear();
        this.#by = undefined;
        return request;
      }
      const woken = Promise.withResolvers<void>();
      this.#wake = woken.resolve;
      const timer = setTimeout(
        () => (held ? this.#wake() : this.push("interval")),
        held ? left(hold) : left(wait),
      );
      await woken.promise;
      clearTimeout(timer);
    }
  }
}
