import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { type FailureKind, failureKind } from "../system/program.ts";
import { retryDelay } from "../system/timing.ts";
import type { Plan, Tally, Watch, Watcher } from "./backend.ts";
import { type Chosen, isOwnTable, mayRemain, refusalOf } from "./choose.ts";
import type { Leftovers, MigratingBackend } from "./migrating-backend.ts";
import type { Synced, SyncOptions } from "./sync.ts";

/** A change of the backend that writes the rules. */
export interface Move {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
  /** Why the preferred backend does not write the rules; undefined if it does. */
  readonly fallback: string | undefined;
}

/**
 * Syncs with the preferred backend or, while its program fails, with another backend that works. The rules stay in
 * force during a move: the new rules are written before the old rules are removed. The preferred backend is tried
 * again after 10 s, then at growing intervals, and replaces the other backend when it works.
 */
export class Failover {
  #active: MigratingBackend;
  /** The backend whose rules must stay: the active backend or, during a move, the next backend. */
  #owner: MigratingBackend;
  readonly #preferred: MigratingBackend;
  /** Consecutive failed syncs of the active backend. */
  #failures = 0;
  /** Backends that have not worked since they failed. */
  readonly #failing = new Set<MigratingBackend>();
  /** The monotonic time of the next try of the preferred backend, and its consecutive failures. */
  #nextTry = 0;
  #tries = 0;
  #watcher: Watcher | undefined;
  #watch: Watch | undefined;
  /** Whether the next difference is the result of our own change, not drift. */
  #rewrites = false;

  /**
   * @param failuresBeforeMove consecutive failures before a move, for kinds of failure that may be temporary
   * @param pauses the pauses between tries of the preferred backend
   */
  constructor(
    readonly chosen: Chosen,
    readonly failuresBeforeMove = FAILURES_BEFORE_MOVE,
    readonly pauses = PAUSES,
  ) {
    this.#active = chosen.backend;
    this.#owner = chosen.backend;
    this.#preferred = chosen.preferred ?? chosen.backend;
    if (this.#isFallback) this.#failed(this.#preferred);
  }

  get name(): string {
    return this.#active.name;
  }

  get writer(): string {
    return this.#active.writer;
  }

  get limits(): readonly string[] {
    return this.#active.limits;
  }

  /** Milliseconds until a sync should try the preferred backend again; undefined while that backend is active. */
  get retry(): number | undefined {
    return this.#isFallback ? Math.max(this.#nextTry - performance.now(), 0) : undefined;
  }

  /** As {@link Backend.prepare}. */
  prepare(): void {
    this.#active.backend.prepare?.();
  }

  /** Like {@link MigratingBackend.sync}, with a backend that works. Throws if no backend works. */
  async sync(policy: Policy, options?: SyncOptions): Promise<Synced & { readonly moved?: Move }> {
    const back = this.retry === 0 ? await this.#moveBack(policy, options?.tally) : undefined;
    if (back) return back;
    try {
      const synced = await this.#active.sync(policy, options);
      this.#failures = 0;
      const expected = this.#rewrites;
      this.#rewrites = false;
      return { ...synced, expected };
    } catch (error) {
      this.#failures++;
      if (!isFailing(failureKind(error), this.#failures >= this.failuresBeforeMove)) throw error;
      const moved = await this.#moveOn(policy, options?.tally, error);
      if (!moved) throw error;
      return moved;
    }
  }

  plan(policy: Policy): Promise<Plan> {
    return this.#active.plan(policy);
  }

  async removeLeftovers(policy: Policy): Promise<Leftovers> {
    const active = this.#active;
    const removed = await active.removeLeftovers(policy, () => this.#owner === active);
    const { ownTable } = this.chosen;
    if (active.enforcesKept && ownTable && !(await mayRemain(ownTable)) && this.#owner === active) {
      // The table that could decide later about kept connections is gone.
      active.enforceKept(false);
      this.#rewrites = true;
      this.#watcher?.changed();
    }
    return removed;
  }

  watch(watcher: Watcher): Watch {
    this.#watcher = watcher;
    this.#watch = this.#active.watch(watcher, this.#isFallback);
    return {
      stop: () => {
        this.#watcher = undefined;
        this.#watch?.stop();
      },
    };
  }

  get #isFallback(): boolean {
    return this.#active !== this.#preferred;
  }

  async #moveOn(
    policy: Policy,
    tally: Tally | undefined,
    error: unknown,
  ): Promise<(Synced & { moved: Move }) | undefined> {
    const from = this.#active;
    this.#failed(from);
    const rank = (it: MigratingBackend) => Number(this.#failing.has(it));
    for (const next of this.chosen.alternatives.toSorted((a, b) => rank(a) - rank(b))) {
      if (next === from) continue;
      const ownTableFails = [...this.#failing].some(it => isOwnTable(it.backend));
      next.enforceKept(ownTableFails && !isOwnTable(next.backend));
      try {
        this.#owner = next;
        const synced = await next.sync(policy, { tally });
        this.#activate(next);
        const why = messageOf(error);
        const fallback = this.#isFallback ? why : undefined;
        const moved = {
          from: from.writer,
          to: next.writer,
          reason: `${from.writer} fails: ${why}`,
          fallback,
        };
        return { ...synced, expected: true, moved };
      } catch {
        this.#failing.add(next);
      }
    }
    this.#owner = from;
    return undefined;
  }

  async #moveBack(policy: Policy, tally: Tally | undefined): Promise<(Synced & { moved: Move }) | undefined> {
    const from = this.#active;
    const preferred = this.#preferred;
    this.#tries++;
    this.#setNextTry();
    const slow = Bun.sleep(this.pauses.check).then(() => "slow" as const);
    if ((await Promise.race([refusalOf(preferred.backend, policy), slow])) !== undefined) return undefined;
    preferred.enforceKept(false);
    this.#owner = preferred;
    try {
      const synced = await preferred.sync(policy, { tally });
      this.#activate(preferred);
      const reason = `${preferred.writer} works again`;
      const moved = { from: from.writer, to: preferred.writer, reason, fallback: undefined };
      return { ...synced, expected: true, moved };
    } catch {
      this.#owner = from;
      return undefined;
    }
  }

  #failed(backend: MigratingBackend): void {
    this.#failing.add(backend);
    if (backend !== this.#preferred) return;
    this.#tries = 1;
    this.#setNextTry();
  }

  #setNextTry(): void {
    const { first, last } = this.pauses;
    this.#nextTry = performance.now() + retryDelay(this.#tries, first, last);
  }

  #activate(backend: MigratingBackend): void {
    this.#active = backend;
    this.#failures = 0;
    this.#failing.delete(backend);
    if (!this.#watcher) return;
    this.#watch?.stop();
    this.#watcher.lost(undefined); // the report was about the other backend
    this.#watch = backend.watch(this.#watcher, this.#isFallback);
  }
}

/** In milliseconds. */
interface Pauses {
  /**
   * The first and the longest pause between tries of the preferred backend, in milliseconds. Each crash of a program
   * adds a line to the kernel's log.
   */
  readonly first: number;
  readonly last: number;
  /** How long a sync waits for the test of the preferred backend. The test usually takes 20 ms. */
  readonly check: number;
}

const PAUSES: Pauses = { first: 10_000, last: 300_000, check: 2000 };

const FAILURES_BEFORE_MOVE = 3;

/** Whether the program itself fails, so that another program may work. A refusal may have its cause in the kernel. */
function isFailing(kind: FailureKind | undefined, persists: boolean): boolean {
  switch (kind) {
    case "crashed":
    case "not-found":
    case "timed-out":
    case "incompatible":
      return true;
    case "not-permitted":
    case "unsupported":
    case "refused":
    case "busy":
      return persists;
    default:
      return false;
  }
}
