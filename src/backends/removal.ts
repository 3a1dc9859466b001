import { messageOf } from "../system/errors.ts";
import { ProgramError } from "../system/program.ts";
import { type Backend, FAMILIES } from "./backend.ts";
import { type Found, inEachPlace, isHarmless, type PlaceFailure } from "./places.ts";

/** What was done with the rules of all backends, in lines for people. */
export interface Removal {
  readonly done: readonly string[];
  /** What could not be read, although it holds no rules of ours. */
  readonly warnings: readonly string[];
  /** Where rules of ours may be left, and why. */
  readonly failures: readonly string[];
}

/** Removes the rules of all backends. */
export async function removeAll(backends: readonly Backend[]): Promise<Removal> {
  return removal(
    await inEachPlace(backends, FAMILIES, async (backend, families) =>
      (await backend.remove(families)).map(it => `removed ${it}`),
    ),
  );
}

/** What {@link removeAll} would remove. */
export async function showAll(backends: readonly Backend[]): Promise<Removal> {
  return removal(
    await inEachPlace(backends, FAMILIES, async (backend, families) => {
      const actual = await backend.actual(families);
      if (actual.length === 0) return [];
      return [
        `would remove from ${families.join()}, by ${backend.writer}:`,
        ...actual.map(line => `  ${line}`),
      ];
    }),
  );
}

function removal({ found, failures }: Found<string>): Removal {
  const where = ({ family, writer, error }: PlaceFailure) => `${family}, by ${writer}: ${reasonOf(error)}`;
  return {
    done: found,
    warnings: failures.filter(isHarmless).map(it => `could not look at ${where(it)}`),
    failures: failures.filter(it => !isHarmless(it)).map(it => `rules may be left in ${where(it)}`),
  };
}

/** Without the remedy that {@link removeAll} follows already. */
function reasonOf(error: unknown): string {
  const follows = error instanceof ProgramError && error.kind === "incompatible";
  return follows ? `${error.command}: ${error.what}` : messageOf(error);
}
