import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { type FailureKind, failureKind } from "../system/program.ts";
import type { Plan, Tally, Watch, Watcher } from "./backend.ts";
import { type Chosen, mayRemain } from "./choose.ts";
import type { Synced } from "./sync.ts";
import type { Leftovers, Takeover } from "./takeover.ts";

/** That another backend writes the rules from now on. */
export interface Move {
  readonly from: string;
  readonly to: string;
  readonly reason: string;
  /** Why the preferred backend does not write; undefined when it does again. */
  readonly fallback: string | undefined;
}

/**
 * The chosen backend and, when its program fails at run time, another one that works. The rules stay in force through
 * the move: the new ones are written before the old ones go. The chosen one is tried again after 10 s, later each time,
 * and takes over when it works.
 */
export class Failover {
  #active: Takeover;
  readonly #preferred: Takeover;
  /** Consecutive syncs that the active backend failed. */
  #failures = 0;
  /** Backends that failed and were not seen to work since. */
  readonly #failing = new Set<Takeover>();
  /** When the preferred backend is tried again, by a monotonic clock, and how long it is between tries. */
  #nextTry = 0;
  #pause = FIRST_PAUSE_MS;
  #watcher: Watcher | undefined;
  #watch: Watch | undefined;
  /** Whether rules that differ are due to us, not to somebody else. */
  #rewrites = false;

  /** @param several how many failures in a row are not a coincidence, where the kind of failure may be one */
  constructor(
    readonly chosen: Chosen,
    readonly several = SEVERAL,
  ) {
    this.#active = chosen.backend;
    this.#preferred = chosen.preferred ?? chosen.backend;
    if (this.#isFallback) this.#failed(this.#preferred);
  }

  get name(): Takeover["name"] {
    return this.#active.name;
  }

  get writer(): string {
    return this.#active.writer;
  }

  get limits(): readonly string[] {
    return this.#active.limits;
  }

  /** Milliseconds until a sync should try the preferred backend again; undefined while that one is active. */
  get retry(): number | undefined {
    return this.#isFallback ? Math.max(this.#nextTry - performance.now(), 0) : undefined;
  }

  /** As {@link Takeover.sync}, by the backend that works. */
  async sync(policy: Policy, tally?: Tally): Promise<Synced & { readonly moved?: Move }> {
    const back = this.retry === 0 ? await this.#moveBack(policy, tally) : undefined;
    if (back) return back;
    try {
      const synced = await this.#active.sync(policy, tally);
      this.#failures = 0;
      const expected = this.#rewrites;
      this.#rewrites = false;
      return { ...synced, expected };
    } catch (error) {
      this.#failures++;
      if (!isFailing(failureKind(error), this.#failures >= this.several)) throw error;
      const moved = await this.#moveOn(policy, tally, error);
      if (!moved) throw error;
      return moved;
    }
  }

  plan(policy: Policy): Promise<Plan> {
    return this.#active.plan(policy);
  }

  async tidy(policy: Policy): Promise<Leftovers> {
    const tidied = await this.#active.tidy(policy);
    const { nftables } = this.chosen;
    if (this.#active.claimsKept && nftables && !(await mayRemain(nftables))) {
      // Nothing is left that would have to be kept from deciding.
      this.#active.claimKept(false);
      this.#rewrites = true;
      this.#watcher?.changed();
    }
    return tidied;
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
    for (const next of this.chosen.alternatives) {
      if (next === from) continue;
      const nftables = [...this.#failing].some(it => it.name === "nftables");
      next.claimKept(nftables && next.name !== "nftables");
      try {
        const synced = await next.sync(policy, tally);
        this.#activate(next);
        const why = `${from.writer} fails: ${messageOf(error)}`;
        const moved = { from: from.writer, to: next.writer, reason: why, fallback: messageOf(error) };
        return { ...synced, expected: true, moved };
      } catch {
        this.#failing.add(next);
      }
    }
    return undefined;
  }

  async #moveBack(policy: Policy, tally: Tally | undefined): Promise<(Synced & { moved: Move }) | undefined> {
    const from = this.#active;
    const preferred = this.#preferred;
    this.#pause = Math.min(2 * this.#pause, LAST_PAUSE_MS);
    this.#nextTry = performance.now() + this.#pause;
    const slow = Bun.sleep(PROBE_MS).then(() => "slow" as const);
    if ((await Promise.race([preferred.probe(policy), slow])) !== undefined) return undefined;
    preferred.claimKept(false);
    try {
      const synced = await preferred.sync(policy, tally);
      this.#activate(preferred);
      const reason = `${preferred.writer} works again`;
      const moved = { from: from.writer, to: preferred.writer, reason, fallback: undefined };
      return { ...synced, expected: true, moved };
    } catch {
      return undefined;
    }
  }

  #failed(backend: Takeover): void {
    this.#failing.add(backend);
    if (backend !== this.#preferred) return;
    this.#pause = FIRST_PAUSE_MS;
    this.#nextTry = performance.now() + this.#pause;
  }

  #activate(backend: Takeover): void {
    this.#active = backend;
    this.#failures = 0;
    this.#failing.delete(backend);
    if (!this.#watcher) return;
    this.#watch?.stop();
    this.#watch = backend.watch(this.#watcher, this.#isFallback);
  }
}

/** Milliseconds between tries of a preferred backend that fails. A program that crashes leaves a line in the kernel's log. */
const FIRST_PAUSE_MS = 10_000;
const LAST_PAUSE_MS = 300_000;

/** How long a sync waits for the program that is tried again, in milliseconds; it takes 20 when it works. */
const PROBE_MS = 2000;

const SEVERAL = 3;

/** Whether a failure is the program's, so that another one may do better; the same state of the kernel may be refused. */
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
