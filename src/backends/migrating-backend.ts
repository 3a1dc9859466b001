import type { Family } from "../net/cidr.ts";
import type { TraceableRuleset } from "../net/trace.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import type { ProgramError } from "../system/program.ts";
import { type Backend, FAMILIES, type Plan, type Tally, type Watch, type Watcher } from "./backend.ts";
import { inEachPlace, isHarmless, type PlaceFailure } from "./places.ts";
import { type Synced, sync } from "./sync.ts";

/** What other backends left, or this one in a family that is no longer enabled. */
export interface Leftovers {
  /** A line each. */
  readonly lines: readonly string[];
  /** Why some could not be read or removed, a sentence each. */
  readonly failures: readonly string[];
}

/**
 * A backend that takes over from the others: once its own rules are in force, `tidy` removes what they left. That
 * cannot fail or delay a sync, and each place and family is read and cleaned on its own.
 */
export class MigratingBackend {
  readonly name: Backend["name"];
  readonly writer: string;
  /** The backends whose rules are in other places. */
  readonly #others: readonly Backend[];

  /** @param all backends, the one that takes over among them or not */
  constructor(
    readonly backend: Backend,
    all: readonly Backend[],
  ) {
    this.name = backend.name;
    this.writer = backend.writer;
    this.#others = all.filter(({ place }) => place !== backend.place);
  }

  get limits(): readonly string[] {
    return this.backend.limits ?? [];
  }

  plan(policy: Policy): Promise<Plan> {
    return this.backend.plan(policy);
  }

  sync(policy: Policy, tally?: Tally, patience?: number): Promise<Synced> {
    return sync(this.backend, policy, tally, patience);
  }

  /** What `tidy` would remove. Throws nothing. */
  leftovers(policy: Policy): Promise<Leftovers> {
    return this.#each(policy, (backend, families) => backend.actual(families));
  }

  /**
   * Removes leftovers. Call it when the rules of the policy are in force. Throws nothing.
   *
   * @param mayRemove whether this backend is still the writer: another one may have taken over meanwhile
   */
  tidy(policy: Policy, mayRemove: () => boolean = () => true): Promise<Leftovers> {
    return this.#each(policy, async (backend, families) => {
      const found = await backend.actual(families);
      return found.length > 0 && mayRemove() ? backend.remove(families) : [];
    });
  }

  get enforcesKept(): boolean {
    return this.backend.enforcesKept ?? false;
  }

  enforceKept(claim: boolean): void {
    this.backend.enforceKept?.(claim);
  }

  watch(watcher: Watcher, polls?: boolean): Watch {
    return this.backend.watch(watcher, polls);
  }

  probe(policy: Policy): Promise<ProgramError | undefined> {
    return this.backend.probe(policy);
  }

  /**
   * The rules of all backends in the kernel, since an old one may still decide, and why some could not be read. Throws
   * what reading throws if no family of this backend can be read.
   */
  async rules(
    families: readonly Family[],
  ): Promise<{ readonly rules: readonly TraceableRuleset[]; readonly failures: readonly string[] }> {
    const read = (backend: Backend, families: readonly Family[]) => backend.rules(families);
    const own = await inEachPlace([this.backend], families, read);
    const [failure] = own.failures;
    if (failure && own.failures.length === families.length) throw failure.error;
    const others = await inEachPlace(this.#others, families, read);
    return {
      rules: [...own.found, ...others.found],
      failures: sentences([...own.failures, ...others.failures]),
    };
  }

  async #each(
    { enabled }: Policy,
    work: (backend: Backend, families: readonly Family[]) => Promise<readonly string[]>,
  ): Promise<Leftovers> {
    const disabled = FAMILIES.filter(family => !enabled.includes(family));
    const own = await inEachPlace([this.backend], disabled, work);
    const others = await inEachPlace(this.#others, FAMILIES, work);
    return {
      lines: [...own.found, ...others.found],
      failures: sentences([...own.failures, ...others.failures]),
    };
  }
}

/** Those that may hide rules. */
function sentences(failures: readonly PlaceFailure[]): string[] {
  return failures.filter(it => !isHarmless(it)).map(({ family, error }) => `${family}: ${messageOf(error)}`);
}
