import type { Watch } from "../../src/backends/backend.ts";
import { NftablesBackend } from "../../src/backends/nftables/backend.ts";
import { type Synced, type SyncOptions, sync } from "../../src/backends/sync.ts";
import { Totals } from "../../src/observe/totals.ts";
import type { Policy } from "../../src/policy/policy.ts";

/** A backend that is watched, like the agent's. */
export class Watched {
  readonly backend: NftablesBackend;
  readonly totals = new Totals();
  readonly #watch: Watch;
  changes = 0;
  #woken = Promise.withResolvers<void>();

  /** @param argv the command line that starts nft */
  constructor(argv: readonly string[]) {
    this.backend = new NftablesBackend(argv);
    const changed = () => {
      this.changes++;
      this.#woken.resolve();
    };
    const target = { fingerprint: async () => "", plan: () => undefined };
    this.#watch = this.backend.watch({ changed, lost: () => {}, foreign: () => {} }, target);
  }

  /** Resolves at the next change that is reported. */
  async changed(): Promise<void> {
    await this.#woken.promise;
    this.#woken = Promise.withResolvers();
  }

  sync(wanted: Policy, options: SyncOptions = {}): Promise<Synced> {
    return sync(this.backend, wanted, { tally: this.totals, ...options });
  }

  stop(): void {
    this.#watch.stop();
  }
}
