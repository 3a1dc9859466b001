import type { Policy } from "../policy/policy.ts";
import { type Backend, NotAppliedError, type Plan } from "./backend.ts";

/** What a sync found and did. */
export interface Synced {
  /** What stood in the kernel before. */
  readonly before: Plan;
  /** What stands there now: the very same if nothing was written. */
  readonly after: Plan;
}

/**
 * Makes the kernel hold what `policy` wants. Writes only if something differs, and then reads back what was
 * written; if somebody else wrote at the same moment, it tries again. Throws ProgramError, and NotAppliedError
 * if it still is not there.
 */
export async function sync(backend: Backend, policy: Policy): Promise<Synced> {
  const spare = isLong(policy) ? () => Bun.gc(true) : () => {};
  spare();
  const before = await backend.plan(policy);
  let after = before;
  for (let i = 0; i < MOST_TRIES && !after.inSync; i++) {
    spare();
    const { held } = after;
    const failure = await failureOf(after.apply());
    spare();
    after = await backend.plan(policy);
    // What another program changed while it was written may go well at the next try.
    if (failure && (i === MOST_TRIES - 1 || Bun.deepEquals(held, after.held))) throw failure.error;
  }
  if (!after.inSync) throw new NotAppliedError(after);
  return { before, after };
}

const MOST_TRIES = 3;

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
    ({ nonMasquerade, masquerade }) => nonMasquerade.outer.length + masquerade.outer.length > LONG,
  );
}

const LONG = 5000;
