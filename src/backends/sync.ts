import type { Family } from "../net/cidr.ts";
import { type Policy, partOf } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { failureKind } from "../system/program.ts";
import { type Backend, type Counter, NotAppliedError, type Plan, type Tally } from "./backend.ts";

/** What reads and compares the rules of a policy. */
type Planner = Pick<Backend, "plan" | "explained">;

/** What a sync found and did. */
export interface Synced {
  /** The kernel's rules before. */
  readonly before: Plan;
  /** What is in the kernel now: the very same object if nothing was written. */
  readonly after: Plan;
  /** The families that could not be brought into the kernel, while another one was. */
  readonly failures: readonly FamilyFailure[];
  /** Whether the difference is the agent's own doing. */
  readonly expected?: boolean;
}

export interface FamilyFailure {
  readonly family: Family;
  readonly error: unknown;
}

/**
 * Makes the kernel hold what `policy` wants. Writes only if something differs, and then reads back what was written; if
 * something else wrote at the same moment, it tries again. If both families together fail, each is tried alone.
 *
 * Throws ProgramError, and NotAppliedError if the rules are still not there, if that is so of every family.
 *
 * @param tally receives all readings and writes, also those of a sync that fails
 * @param patience milliseconds for which writes are repeated that another program prevents or undoes
 */
export async function sync(backend: Planner, policy: Policy, tally?: Tally, patience = 0): Promise<Synced> {
  const { done, failures } = await apart(policy, part => syncAll(backend, part, tally, patience));
  const before = joined(done.map(it => it.before));
  const changed = done.some(it => it.before !== it.after);
  return { before, after: changed ? joined(done.map(it => it.after)) : before, failures };
}

/** Why rules of a family are not in the kernel, as a sentence. */
export function familyText({ family, error }: FamilyFailure): string {
  return `${family === "ip" ? "IPv4" : "IPv6"} rules are not in force: ${messageOf(error)}`;
}

/** What a sync would change, and the families that cannot be read. Throws if no family can. */
export async function planned(
  backend: Planner,
  policy: Policy,
): Promise<{ readonly plan: Plan; readonly failures: readonly FamilyFailure[] }> {
  const { done, failures } = await apart(policy, part => backend.plan(part));
  return { plan: joined(done), failures };
}

/** Works on a policy as a whole and, if that fails, on each family alone, unless a program hung. */
async function apart<T>(
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

/** Plans of one family each as one. */
function joined(plans: readonly Plan[]): Plan {
  const [only, ...more] = plans;
  if (only && more.length === 0) return only;
  return {
    actual: plans.flatMap(({ actual }) => actual),
    desired: plans.flatMap(({ desired }) => desired),
    inSync: plans.every(({ inSync }) => inSync),
    writer: only?.writer ?? "",
    counters: plans.flatMap(({ counters }) => counters),
    caution: plans.find(({ caution }) => caution !== undefined)?.caution,
    apply: async () => {
      const counters: Counter[] = [];
      for (const plan of plans) counters.push(...(await plan.apply()));
      return counters;
    },
  };
}

async function syncAll(
  backend: Planner,
  policy: Policy,
  tally: Tally | undefined,
  patience: number,
): Promise<{ before: Plan; after: Plan }> {
  const spare = isLong(policy) ? () => Bun.gc(true) : () => {};
  const began = performance.now();
  const within = (ms: number) => performance.now() - began < ms;
  spare();
  const before = await backend.plan(policy);
  tally?.read(before);
  let after = before;
  for (let tries = 1; !after.inSync && (tries <= MOST_TRIES || within(patience)); tries++) {
    spare();
    const { actual } = after;
    const failure = await failureOf(write(after, tally));
    spare();
    after = await backend.plan(policy);
    tally?.read(after);
    if (!failure) continue;
    // If another program changed the rules meanwhile, the next try may succeed.
    const again = isRefusal(failure.error) && within(Math.max(QUICK_MS, patience));
    const changed = !Bun.deepEquals(actual, after.actual);
    if ((again || changed) && (tries < MOST_TRIES || within(patience))) continue;
    throw (await backend.explained?.(failure.error)) ?? failure.error;
  }
  if (!after.inSync) throw new NotAppliedError(after);
  return { before, after };
}

const MOST_TRIES = 3;

/**
 * Milliseconds within which a refused write is repeated although the kernel's rules did not change: another program may
 * have deleted sets that had just been built.
 */
const QUICK_MS = 100;

function isRefusal(error: unknown): boolean {
  const kind = failureKind(error);
  return kind === "unsupported" || kind === "refused" || kind === "busy";
}

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
 * Whether it pays to collect garbage before each program that has the whole list in its own memory. Measured with nft,
 * agent and nft together, while a running agent changes one CIDR: of 10,000 in 157 MB rather than 219, of 100,000 in
 * 0.84 GB rather than 1.28.
 */
function isLong({ families }: Policy): boolean {
  return families.some(
    ({ nonMasquerade, masquerade }) => nonMasquerade.effective.length + masquerade.effective.length > LONG,
  );
}

const LONG = 5000;
