import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { failureKind } from "../system/program.ts";
import { retryDelay, within } from "../system/timing.ts";
import { type Backend, type Plan, pollTarget, type Watch, type Watcher } from "./backend.ts";
import { familyText, type Synced, type SyncOptions, sync } from "./sync.ts";

/**
 * Drops leaks beside a backend that cannot: iptables has no chain after NAT, so nft writes a table with only the chain
 * that drops them. A failure of nft is a limit of the backend. It does not fail a sync, and an nft that hangs delays a
 * sync only for a short time.
 */
export class LeakGuard {
  #failure: string | undefined;
  /** Failures in a row. */
  #failures = 0;
  /** The monotonic time of the next try after a failure. */
  #nextTry = 0;
  #retry: Timer | undefined;
  /** Whether the table was in force since a policy first needed it. Its first write repairs no drift. */
  #wasInForce = false;
  /** Work in progress; it never rejects. */
  #work: Promise<unknown> | undefined;
  /** Whether a sync was left out because of work in progress. */
  #isOutdated = false;
  /** The policy of the last sync; undefined if the table is not needed. */
  #policy: Policy | undefined;
  #watcher: Watcher | undefined;
  #watch: Watch | undefined;

  /** @param backend writes the table; see {@link Backend.leakGuard} */
  constructor(readonly backend: Backend) {}

  /** Why leaks are not dropped, as a sentence; undefined if they are. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Resolves when no work is in progress. */
  async settled(): Promise<void> {
    await this.#work;
  }

  /** Compares the table with a policy that drops leaks. Undefined if that fails. */
  async plan(policy: Policy): Promise<Plan | undefined> {
    if (this.#isPausing) return undefined;
    try {
      return await this.backend.plan(policy);
    } catch (error) {
      if (failureKind(error) === undefined) throw error;
      this.#failed(error);
      return undefined;
    }
  }

  /** Syncs the table with a policy that drops leaks. Throws nothing. Returns undefined if that fails or takes long. */
  async sync(policy: Policy, { tally, from }: SyncOptions = {}): Promise<Synced | undefined> {
    this.#policy = policy;
    this.#isOutdated = this.#work !== undefined;
    if (this.#work || this.#isPausing) return undefined;
    return this.#within(this.#synced(policy, { tally, from: from ?? "kernel" }));
  }

  /** Removes the table if a policy before dropped leaks. Throws nothing: the next search for leftovers tries again. */
  async remove(): Promise<void> {
    if (!this.#policy) return;
    this.#policy = undefined;
    this.#wasInForce = false;
    this.#failure = undefined;
    this.#nextTry = this.#failures = 0;
    clearTimeout(this.#retry);
    this.#unwatch();
    const before = this.#work ?? Promise.resolve();
    await this.#within(before.then(() => this.backend.remove()).catch(() => []));
  }

  /** Reports changes of the table, and when a failed sync should be tried again, until it is stopped. */
  watch(watcher: Watcher): Watch {
    this.#watcher = watcher;
    if (this.#policy && this.#failure === undefined) this.#follow();
    return {
      stop: () => {
        this.#watcher = undefined;
        clearTimeout(this.#retry);
        this.#unwatch();
      },
    };
  }

  get #isPausing(): boolean {
    return this.#failure !== undefined && performance.now() < this.#nextTry;
  }

  async #synced(policy: Policy, options: SyncOptions): Promise<Synced | undefined> {
    try {
      const synced = { ...(await sync(this.backend, policy, options)), expected: !this.#wasInForce };
      if (synced.failures.length > 0) this.#failed(synced.failures.map(familyText).join("; "));
      else {
        this.#failure = undefined;
        this.#failures = 0;
        this.#wasInForce = this.#policy !== undefined;
        this.#follow();
      }
      return synced;
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  async #within<T>(work: Promise<T>): Promise<T | undefined> {
    const ended: Promise<unknown> = work.finally(() => {
      if (this.#work !== ended) return;
      this.#work = undefined;
      if (this.#isOutdated) this.#watcher?.changed();
    });
    this.#work = ended;
    const result = await within(WAIT_MS, work);
    if (this.#work === ended && this.#policy) this.#failure = `nft does not answer within ${WAIT_MS} ms`;
    return result;
  }

  /** Watches the table once it was written. While the watch cannot see changes, it polls. */
  #follow(): void {
    if (this.#watch || !this.#watcher || !this.#policy) return;
    const watcher = {
      changed: (by?: string) => this.#watcher?.changed(by),
      lost: () => {},
      foreign: () => {},
    };
    this.#watch = this.backend.watch(
      watcher,
      pollTarget(this.backend, () => this.#policy),
    );
  }

  #unwatch(): void {
    this.#watch?.stop();
    this.#watch = undefined;
  }

  #failed(error: unknown): void {
    this.#failure = typeof error === "string" ? error : messageOf(error);
    const wait = retryDelay(++this.#failures, SHORTEST_RETRY_MS, LONGEST_RETRY_MS);
    this.#nextTry = performance.now() + wait;
    clearTimeout(this.#retry);
    if (this.#policy) this.#retry = setTimeout(() => this.#watcher?.changed(), wait);
  }
}

/** How long a sync waits for the table. Its write takes about 20 ms. */
const WAIT_MS = 1000;
const SHORTEST_RETRY_MS = 2000;
const LONGEST_RETRY_MS = 60_000;
