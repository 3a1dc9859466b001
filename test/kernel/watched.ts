import type { Backend, Watch } from "../../src/backends/backend.ts";
import { type Synced, type SyncOptions, sync } from "../../src/backends/sync.ts";
import { Totals } from "../../src/observe/totals.ts";
import type { Policy } from "../../src/policy/policy.ts";

/** A backend that is watched, like the agent's. */
export class Watched {
  readonly totals = new Totals();
  readonly #watch: Watch;
  changes = 0;
  /** The number of reports that foreign rules may have changed anywhere. */
  foreign = 0;
  #woken = Promise.withResolvers<void>();
  #isStopped = false;

  private constructor(readonly backend: Backend) {
    const changed = () => {
      if (this.#isStopped) return;
      this.changes++;
      this.#woken.resolve();
    };
    const foreign = (where: string | undefined) => {
      if (where === undefined) this.foreign++;
    };
    const target = { fingerprint: async () => "", plan: () => undefined };
    this.#watch = this.backend.watch({ changed, lost: () => {}, foreign }, target);
  }

  /**
   * Opens an agent that listens and remembers the actual rules.
   *
   * @param started receives the agent before it listens, to stop it if it never does
   */
  static async open(
    backend: Backend,
    desired: Policy,
    started: (agent: Watched) => void = () => {},
  ): Promise<Watched> {
    await sync(backend, desired); // before the monitor starts, so that it does not report this write
    const agent = new Watched(backend);
    started(agent);
    do {
      await agent.changed();
      await agent.sync(desired);
    } while (!(await backend.plan(desired, "memory")).isRemembered);
    return agent;
  }

  /** Watches a backend from now on. */
  static watching(backend: Backend): Watched {
    return new Watched(backend);
  }

  /** Resolves at the next change that is reported; never after `stop`. */
  async changed(): Promise<void> {
    await this.#woken.promise;
    this.#woken = Promise.withResolvers();
  }

  sync(desired: Policy, options: SyncOptions = {}): Promise<Synced> {
    return sync(this.backend, desired, { tally: this.totals, ...options });
  }

  stop(): void {
    this.#isStopped = true;
    this.#watch.stop();
  }
}
