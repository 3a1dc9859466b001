import type { NodeTables } from "../nft/node-tables.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { failureKind } from "../system/program.ts";
import type { Backend, Comparison, Tally, Watch, Watcher } from "./backend.ts";
import {
  acceptedReason,
  type Chosen,
  isOwnTable,
  mayTranslate,
  refusalOf,
  UnsuitableError,
} from "./choose.ts";
import { Failing } from "./failing.ts";
import type { Leftovers, MigratingBackend } from "./migrating-backend.ts";
import { FAILURES_BEFORE_MOVE, isDoubtful, isFailing, isUnreadable, type Move, PAUSES } from "./moves.ts";
import { readable, type Synced, type SyncOptions } from "./sync.ts";

/** The first sync after a move. */
type Moved = Synced & { readonly moved: Move };

/**
 * Syncs with the preferred backend or, while its program fails, with another backend that works. The rules stay in
 * force during a move: the new rules are written before the old rules are removed. The preferred backend is tried
 * again after 10 s, then at growing intervals, and replaces the other backend when it works.
 */
export class Failover {
  #active: MigratingBackend;
  /** The backend whose rules must stay: the active backend or, during a move, the next backend. */
  #owner: MigratingBackend;
  #preferred: MigratingBackend;
  #chosen: Chosen;
  /** Why the backend was chosen. */
  #reason: string;
  /** Consecutive failed syncs of the active backend. */
  #failures = 0;
  readonly #failing: Failing;
  #watcher: Watcher | undefined;
  #watch: Watch | undefined;
  /** Whether the next difference is the result of a change by this agent, not drift. */
  #rewrites = false;
  /** A move whose first sync has not succeeded yet. */
  #unreported: Move | undefined;

  /**
   * @param failuresBeforeMove consecutive failures before a move, for kinds of failure that may be temporary
   * @param pauses the pauses between tries of the preferred backend
   */
  constructor(
    chosen: Chosen,
    readonly failuresBeforeMove = FAILURES_BEFORE_MOVE,
    readonly pauses = PAUSES,
  ) {
    this.#failing = new Failing(pauses);
    this.#chosen = chosen;
    this.#reason = chosen.reason;
    this.#active = chosen.backend;
    this.#owner = chosen.backend;
    this.#preferred = chosen.preferred ?? chosen.backend;
    if (this.#isFallback) this.#failing.addPreferred(this.#preferred);
  }

  get chosen(): Chosen {
    return this.#chosen;
  }

  /** Why the backend was chosen. Changes once, when the first sync has tested the backend. */
  get reason(): string {
    return this.#reason;
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
    return this.#isFallback ? this.#failing.wait : undefined;
  }

  /** As {@link Backend.prepare}. */
  prepare(tables?: Promise<NodeTables | undefined>): void {
    this.#active.backend.prepare?.(tables);
  }

  /** Like {@link MigratingBackend.sync}, with a backend that works. Throws if no backend works. */
  async sync(policy: Policy, options?: SyncOptions): Promise<Synced & Partial<Moved>> {
    const back = this.retry === 0 ? await this.#moveBack(policy, options?.tally) : undefined;
    if (back) return back;
    try {
      const synced = await this.#active.sync(policy, options);
      const refused = synced.failures.find(({ error }) => isDoubtful(error));
      if (await this.#chooseAgain(refused?.error)) return this.sync(policy, options);
      const unreadable = synced.failures.find(isUnreadable);
      const most = synced.failures.length;
      const moved = unreadable && (await this.#moveOn(policy, options?.tally, unreadable.error, most));
      if (moved) return moved;
      this.#tested();
      this.#failures = 0;
      const expected = this.#rewrites || synced.expected;
      this.#rewrites = false;
      const chosen = this.#unreported;
      this.#unreported = undefined;
      return { ...synced, expected, ...(chosen && { moved: chosen }) };
    } catch (error) {
      if (await this.#chooseAgain(error)) return this.sync(policy, options);
      this.#failures++;
      if (!isFailing(failureKind(error), this.#failures >= this.failuresBeforeMove)) throw error;
      const moved = await this.#moveOn(policy, options?.tally, error);
      if (!moved) throw error;
      return moved;
    }
  }

  /** As {@link MigratingBackend.compare}. */
  compare(policy: Policy): Promise<Comparison> {
    return this.#active.compare(policy);
  }

  async removeLeftovers(policy: Policy): Promise<Leftovers> {
    const active = this.#active;
    const removed = await active.removeLeftovers(policy, () => this.#owner === active);
    const { ownTable } = this.#chosen;
    if (active.enforcesKept && ownTable && !(await mayTranslate(ownTable)) && this.#owner === active) {
      // No table can decide later about kept connections. One that only drops leaks may stay.
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

  #tested(): void {
    const { retest, ...chosen } = this.#chosen;
    if (!retest || this.#active !== chosen.backend) return;
    this.#chosen = chosen;
    this.#reason = acceptedReason(chosen.backend.backend);
  }

  /**
   * Chooses again, with tests, if the backend was not tested and the error may have its cause in the backend. Returns
   * whether to sync again.
   */
  async #chooseAgain(error: unknown): Promise<boolean> {
    if (!isDoubtful(error)) return false;
    const from = this.#active;
    const chosen = await this.#chosen.retest?.().catch(() => undefined);
    if (!chosen) return false;
    const next = chosen.backend;
    const isSame = next.name === from.name && next.writer === from.writer;
    if (isSame && !(error instanceof UnsuitableError)) return false;
    this.#chosen = chosen;
    this.#reason = chosen.reason;
    this.#preferred = chosen.preferred ?? next;
    this.#owner = next;
    this.#activate(next);
    if (this.#isFallback) this.#failing.addPreferred(this.#preferred);
    const { reason, failure } = chosen;
    if (!isSame)
      this.#unreported = { from: from.writer, to: next.writer, reason, fallback: failure, isChoice: true };
    this.#rewrites = true;
    return true;
  }

  /** @param most if only some families fail: their number. Then another writer of the same place must do better */
  async #moveOn(
    policy: Policy,
    tally: Tally | undefined,
    error: unknown,
    most?: number,
  ): Promise<Moved | undefined> {
    const from = this.#active;
    if (from === this.#preferred) this.#failing.addPreferred(from);
    else this.#failing.add(from);
    for (const next of this.#failing.lastOf(this.#chosen.alternatives)) {
      if (next === from || (most !== undefined && next.backend.place !== from.backend.place)) continue;
      next.enforceKept(this.#failing.hasOwnTable && !isOwnTable(next.backend));
      try {
        this.#owner = next;
        const synced = await next.sync(policy, { tally });
        if (most !== undefined && synced.failures.length >= most) continue;
        this.#activate(next);
        const why = messageOf(error);
        const fallback = this.#isFallback ? why : undefined;
        const reason = `${from.writer} fails: ${why}`;
        const moved = { from: from.writer, to: next.writer, reason, fallback };
        return { ...synced, expected: true, moved };
      } catch {
        this.#failing.add(next);
      }
    }
    this.#owner = from;
    return undefined;
  }

  async #moveBack(policy: Policy, tally: Tally | undefined): Promise<Moved | undefined> {
    const from = this.#active;
    const preferred = this.#preferred;
    this.#failing.tried();
    const slow = Bun.sleep(this.pauses.check).then(() => "slow" as const);
    if ((await Promise.race([refusalOf(preferred.backend, policy), slow])) !== undefined) return undefined;
    preferred.enforceKept(false);
    try {
      const { failures } = await readable(preferred, policy);
      if (failures.some(isUnreadable)) return undefined;
      this.#owner = preferred;
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

  #activate(backend: MigratingBackend): void {
    this.#active = backend;
    this.#failures = 0;
    this.#failing.works(backend);
    if (!this.#watcher) return;
    this.#watch?.stop();
    this.#watcher.lost(undefined); // the report was about the other backend
    this.#watch = backend.watch(this.#watcher, this.#isFallback);
  }
}
