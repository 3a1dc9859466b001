import { FAMILIES, type Family } from "../net/cidr.ts";
import type { TraceableRuleset } from "../net/trace.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { type Backend, type Comparison, type Plan, pollTarget, type Watch, type Watcher } from "./backend.ts";
import { LeakGuard } from "./leak-guard.ts";
import { leaksFail, NO_LEAKS } from "./limits.ts";
import { inEachPlace, isHarmless, type PlaceFailure, translates } from "./removal.ts";
import { joined, type Synced, type SyncOptions, sync } from "./sync.ts";

/** Rules that other backends wrote, or that this backend wrote in a family that is no longer enabled. */
export interface Leftovers {
  /** One line per rule or removal. */
  readonly lines: readonly string[];
  /** One sentence for each place that could not be read or cleaned. */
  readonly failures: readonly string[];
}

/**
 * A backend that replaces the others: once its own rules are in force, `removeLeftovers` removes theirs. The removal
 * neither fails nor delays a sync, and handles each place and family separately.
 */
export class MigratingBackend {
  readonly name: string;
  readonly writer: string;
  /** The backends whose rules are in other places, and other writers of the same place. */
  readonly #others: readonly Backend[];
  readonly #sharing: readonly Backend[];
  /** Drops leaks for a backend that cannot; undefined if no other backend can. */
  readonly #guard: LeakGuard | undefined;
  /** The policy of the last plan that could be read. Families that failed are left out, so polling skips them. */
  #planned: Policy | undefined;
  #isReady: (policy: Policy) => Promise<unknown> = READY;

  /** @param all every backend that may have written rules */
  constructor(
    readonly backend: Backend,
    all: readonly Backend[],
  ) {
    this.name = backend.name;
    this.writer = backend.writer;
    this.#others = all.filter(({ place }) => place !== backend.place);
    this.#sharing = all.filter(it => it.place === backend.place && it !== backend);
    const guard = backend.dropsLeaks ? undefined : all.map(it => it.leakGuard?.()).find(it => it);
    this.#guard = guard && new LeakGuard(guard);
  }

  get limits(): readonly string[] {
    const { limits = [], dropsLeaks = false } = this.backend;
    if (!this.#planned?.dropLeaks || dropsLeaks) return limits;
    if (!this.#guard) return [...limits, NO_LEAKS];
    const { failure } = this.#guard;
    return failure === undefined ? limits : [...limits, leaksFail(failure)];
  }

  /**
   * Lets plans wait until it is known for each family that the backend may be used, until the first plan is made. They
   * reject if `search` rejects.
   *
   * @param search receives a family, and whether its search begins at once
   * @param families the families that the policy probably has, whose search begins at once
   */
  waitFor(search: (family: Family, isNow: boolean) => Promise<void>, families: readonly Family[]): void {
    const searches = new Map<Family, Promise<void>>();
    const searched = (family: Family, isNow: boolean): Promise<void> => {
      const begun = searches.get(family) ?? search(family, isNow);
      begun.catch(() => {}); // plans report it
      searches.set(family, begun);
      return begun;
    };
    for (const family of families) void searched(family, true).catch(() => {});
    this.#isReady = policy => Promise.all(policy.families.map(it => searched(it.family, false)));
  }

  async plan(policy: Policy, from?: "kernel" | "memory"): Promise<Plan> {
    const [plan] = await Promise.all([this.backend.plan(policy, from), this.#isReady(policy)]);
    this.#isReady = READY;
    this.#planned = policy;
    return plan;
  }

  /** Compares all rules of a policy with the actual rules, including the table that drops leaks. Throws ProgramError. */
  async compare(policy: Policy): Promise<Comparison> {
    const plan = await this.plan(policy);
    const guard = policy.dropLeaks ? await this.#guard?.plan(policy) : undefined;
    return guard ? joined([plan, guard]) : plan;
  }

  /** As {@link sync}. The table that drops leaks comes last, and neither fails nor delays the sync. */
  async sync(policy: Policy, options?: SyncOptions): Promise<Synced> {
    const synced = await sync(this, policy, options);
    const guarded = await (policy.dropLeaks ? this.#guard?.sync(policy, options) : this.#guard?.remove());
    if (!guarded) return synced;
    const before = joined([synced.before, guarded.before]);
    const isUnchanged = synced.before === synced.after;
    const isSame = isUnchanged && guarded.before === guarded.after;
    const after = isSame ? before : joined([synced.after, guarded.after]);
    return { ...synced, before, after, expected: (isUnchanged ? guarded : synced).expected };
  }

  explained(error: unknown): Promise<unknown> {
    return this.backend.explained?.(error) ?? Promise.resolve(error);
  }

  /** The rules that `removeLeftovers` would remove. Throws nothing. */
  leftovers(policy: Policy): Promise<Leftovers> {
    return this.#each(policy, (backend, families) => backend.actual(families));
  }

  /**
   * Removes leftovers. Call it when the rules of the policy are in force. Throws nothing.
   *
   * @param mayRemove whether this backend still writes the rules; another backend may have replaced it meanwhile
   */
  async removeLeftovers(policy: Policy, mayRemove: () => boolean = () => true): Promise<Leftovers> {
    await this.#guard?.settled();
    return this.#each(policy, async (backend, families) => {
      const found = await backend.actual(families);
      return found.length > 0 && mayRemove() ? backend.remove(families) : [];
    });
  }

  get enforcesKept(): boolean {
    return this.backend.enforcesKept ?? false;
  }

  enforceKept(enforce: boolean): void {
    this.backend.enforceKept?.(enforce);
  }

  watch(watcher: Watcher, polls?: boolean): Watch {
    const { backend } = this;
    const target = pollTarget(backend, () => this.#planned);
    const watches = [backend.watch(watcher, target, polls), this.#guard?.watch(watcher)];
    return {
      stop() {
        for (const watch of watches) watch?.stop();
      },
    };
  }

  /**
   * The actual rules of all backends, because old rules may still decide, and why some rules could not be read. Throws
   * ProgramError if no family of this backend can be read.
   */
  async rules(
    families: readonly Family[],
  ): Promise<{ readonly rules: readonly TraceableRuleset[]; readonly failures: readonly string[] }> {
    const read = (backend: Backend, families: readonly Family[]) => backend.rules(families);
    const own = await inEachPlace([this.backend, ...this.#sharing], families, read);
    const failed = own.failures.filter(({ isCovered }) => !isCovered);
    if (failed[0] && new Set(failed.map(({ family }) => family)).size === families.length)
      throw failed[0].error;
    const others = await inEachPlace(this.#others, families, read);
    return {
      rules: [...own.found, ...others.found],
      failures: sentences([...own.failures, ...others.failures]),
    };
  }

  async #each(
    { enabled, dropLeaks }: Policy,
    work: (backend: Backend, families: readonly Family[]) => Promise<readonly string[]>,
  ): Promise<Leftovers> {
    const disabled = FAMILIES.filter(family => !enabled.includes(family));
    const own = await inEachPlace([this.backend], disabled, work);
    const guarded = dropLeaks ? this.#guard?.backend.place : undefined;
    // If the guard failed, rules of another backend may still be in its table.
    const left = this.#others.filter(({ place }) => place !== guarded || this.#guard?.failure !== undefined);
    const others = await inEachPlace(left, FAMILIES, async (backend, families) =>
      backend.place === guarded && !(await translates(backend, families)) ? [] : work(backend, families),
    );
    return {
      lines: [...own.found, ...others.found],
      failures: sentences([...own.failures, ...others.failures]),
    };
  }
}

const READY = async () => {};

/** The failures that may hide rules. */
function sentences(failures: readonly PlaceFailure[]): string[] {
  return failures.filter(it => !isHarmless(it)).map(({ family, error }) => `${family}: ${messageOf(error)}`);
}
