import { FAMILY_NAMES, type Family } from "../net/cidr.ts";
import { type Policy, partOf } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { failureKind } from "../system/program.ts";
import {
  type Backend,
  type Comparison,
  changesOf,
  joinChanges,
  mayBeStale,
  NotAppliedError,
  type Plan,
  type Tally,
} from "./backend.ts";

/** Reads and compares the rules of a policy. */
type Planner = Pick<Backend, "plan" | "explained">;

/** How a sync proceeds. */
export interface SyncOptions {
  /** Receives all readings and writes, including readings and writes of a failed sync. */
  readonly tally?: Tally | undefined;
  /** Milliseconds during which writes are repeated if another program prevents or undoes them. */
  readonly retryFor?: number;
  /** The source of the first comparison; see {@link Backend.plan}. */
  readonly from?: "kernel" | "memory";
  /** As in {@link Plan.confirm}. */
  readonly isWatched?: boolean;
}

/** The result of a sync. */
export interface Synced {
  /** The rules before the sync. */
  readonly before: Comparison;
  /** The rules after it: the same object as `before` if nothing was written. */
  readonly after: Comparison;
  /** The families whose sync failed while the other family succeeded. */
  readonly failures: readonly FamilyFailure[];
  /** Whether the agent itself caused the difference, so it is not drift. */
  readonly expected?: boolean | undefined;
}

export interface FamilyFailure {
  readonly family: Family;
  readonly error: unknown;
}

/**
 * Makes the actual rules equal to the desired rules. Writes only if they differ, and verifies each write. Tries again
 * if another program wrote at the same moment. If both families together fail, tries each family alone.
 *
 * If every family fails: throws ProgramError, or NotAppliedError if another program undoes each write.
 */
export async function sync(backend: Planner, policy: Policy, options: SyncOptions = {}): Promise<Synced> {
  const { done, failures } = await byFamily(policy, part => syncAll(backend, part, options));
  const before = joined(done.map(it => it.before));
  const changed = done.some(it => it.before !== it.after);
  return { before, after: changed ? joined(done.map(it => it.after)) : before, failures };
}

/** The failure of a family, as a sentence. */
export function familyText({ family, error }: FamilyFailure): string {
  return `${FAMILY_NAMES[family]} rules are not in force: ${messageOf(error)}`;
}

/** Whether a retry may help: kernel and programs do not gain a family at run time. */
export function isTemporary({ error }: FamilyFailure): boolean {
  const kind = failureKind(error);
  return kind !== "unsupported" && kind !== "not-found";
}

/** The actual rules compared with a policy, and the families that cannot be read. */
export interface Compared {
  readonly comparison: Comparison;
  readonly failures: readonly FamilyFailure[];
}

/** Compares the actual rules with a policy, also those that drop leaks. Throws if no family can be read. */
export async function compared(
  backend: { compare(policy: Policy): Promise<Comparison> },
  policy: Policy,
): Promise<Compared> {
  const { done, failures } = await byFamily(policy, part => backend.compare(part));
  return { comparison: joined(done), failures };
}

/** The same without the rules that drop leaks. */
export function readable(backend: Planner, policy: Policy): Promise<Compared> {
  return compared({ compare: part => backend.plan(part) }, policy);
}

/** Works on the whole policy and, if that fails, on each family alone, except after a program hung. */
async function byFamily<T>(
  policy: Policy,
  work: (part: Policy) => Promise<T>,
): Promise<{ done: T[]; failures: FamilyFailure[] }> {
  try {
    return { done: [await work(policy)], failures: [] };
  } catch (error) {
    if (policy.families.length < 2 || failureKind(error) === "timed-out") throw error;
    const done: T[] = [];
    const failures: FamilyFailure[] = [];
    for (const { family } of policy.families) {
      try {
        done.push(await work(partOf(policy, family)));
      } catch (error) {
        failures.push({ family, error });
      }
    }
    if (done.length === 0) throw error;
    return { done, failures };
  }
}

/** Joins comparisons of different families or places. The first one names the writer. */
export function joined(all: readonly Comparison[]): Comparison {
  const [only, ...more] = all;
  if (only && more.length === 0) return only;
  return {
    get actual() {
      return all.flatMap(({ actual }) => actual);
    },
    get desired() {
      return all.flatMap(({ desired }) => desired);
    },
    get changes() {
      return joinChanges(all.map(changesOf));
    },
    isRemembered: all.some(({ isRemembered }) => isRemembered),
    inSync: all.every(({ inSync }) => inSync),
    writer: only?.writer ?? "",
    counters: all.flatMap(({ counters }) => counters),
    parts: all,
    caution: all.find(({ caution }) => caution !== undefined)?.caution,
  };
}

async function syncAll(
  backend: Planner,
  policy: Policy,
  { tally, retryFor = 0, from = "kernel", isWatched = false }: SyncOptions,
): Promise<{ before: Plan; after: Plan }> {
  const freeMemory = isLong(policy) ? () => Bun.gc(true) : () => {};
  const began = performance.now();
  const within = (ms: number) => performance.now() - began < ms;
  const before = await backend.plan(policy, from);
  if (!before.isRemembered) tally?.read(before);
  if (before.inSync) await before.tidy?.();
  let after = before;
  for (let tries = 1; !after.inSync && (tries <= MOST_TRIES || within(retryFor)); tries++) {
    freeMemory();
    const tried = after;
    const failure = await failureOf(write(tried, tally));
    const confirmed = failure ? undefined : await tried.confirm?.(isWatched);
    if (confirmed) {
      tally?.ended(confirmed, confirmed.ended ?? []);
      setTimeout(freeMemory); // the rules are in force: this must not delay the report
      return { before, after: confirmed };
    }
    after = await backend.plan(policy);
    tally?.read(after);
    if (!failure) continue;
    // Another program may have changed the rules meanwhile. Then the next try may succeed.
    const again = mayBeStale(failure.error) && within(Math.max(QUICK_MS, retryFor));
    const changed = !Bun.deepEquals(tried.actual, after.actual);
    if ((again || changed) && (tries < MOST_TRIES || within(retryFor))) continue;
    throw (await backend.explained?.(failure.error)) ?? failure.error;
  }
  if (!after.inSync) throw new NotAppliedError(after);
  return { before, after };
}

const MOST_TRIES = 3;

/**
 * Milliseconds during which a refused write is repeated even if the actual rules did not change. Another program may
 * have deleted a set that had just been built.
 */
const QUICK_MS = 100;

async function write(plan: Plan, tally: Tally | undefined): Promise<void> {
  const counters = await plan.apply();
  tally?.wrote(plan, counters);
}

async function failureOf(work: Promise<void>): Promise<{ readonly error: unknown } | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return { error };
  }
}

/**
 * Whether to collect garbage before a write, while the program that writes holds the whole list too, and after a
 * confirmed write. A collection takes 24 ms with 10,000 CIDRs, and 100 ms with 45,000.
 */
function isLong({ families }: Policy): boolean {
  return families.some(
    ({ nonMasquerade, masquerade }) => nonMasquerade.effective.length + masquerade.effective.length > LONG,
  );
}

const LONG = 20_000;
