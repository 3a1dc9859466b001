/** Why a sync runs. */
export type Trigger = "start" | "config" | "kernel" | "interval" | "signal";

/**
 * Where triggers wait for the agent. Those that come while it is busy are one when it asks again, so many
 * changes make one sync.
 */
export class Triggers {
  readonly #waiting = new Set<Trigger>();
  #wake: () => void = () => {};

  push(trigger: Trigger): void {
    this.#waiting.add(trigger);
    this.#wake();
  }

  /** All that wait, at least one: `interval`, if nothing else comes within `milliseconds`. */
  async next(milliseconds: number): Promise<readonly Trigger[]> {
    if (this.#waiting.size === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(() => this.push("interval"), milliseconds);
      this.#wake = resolve;
      await promise;
      clearTimeout(timer);
    }
    const triggers = [...this.#waiting];
    this.#waiting.clear();
    return triggers;
  }
}
