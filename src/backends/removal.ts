import { FAMILIES, type Family } from "../net/cidr.ts";
import { messageOf } from "../system/errors.ts";
import { failureKind, ProgramError } from "../system/program.ts";
import type { Backend } from "./backend.ts";

/** The removal of the rules of all backends, as lines for people. */
export interface Removal {
  readonly done: readonly string[];
  /** Places that could not be read, but cannot have our rules. */
  readonly warnings: readonly string[];
  /** Places that may still have our rules, and why. */
  readonly failures: readonly string[];
}

/** Removes the rules of all backends. */
export async function removeAll(backends: readonly Backend[]): Promise<Removal> {
  return removalOf(
    await inEachPlace(backends, FAMILIES, async (backend, families) =>
      (await backend.remove(families)).map(it => `removed ${it}`),
    ),
  );
}

/** The rules that {@link removeAll} would remove. */
export async function showAll(backends: readonly Backend[]): Promise<Removal> {
  return removalOf(
    await inEachPlace(backends, FAMILIES, async (backend, families) => {
      const rules = await backend.actual(families);
      if (rules.length === 0) return [];
      return [
        `would remove from ${families.join()}, by ${backend.writer}:`,
        ...rules.map(line => `  ${line}`),
      ];
    }),
  );
}

function removalOf({ found, failures }: Found<string>): Removal {
  const where = ({ family, writer, error }: PlaceFailure) => `${family}, by ${writer}: ${reasonOf(error)}`;
  return {
    done: found,
    warnings: failures.filter(isHarmless).map(it => `cannot read ${where(it)}`),
    failures: failures.filter(it => !isHarmless(it)).map(it => `rules may remain in ${where(it)}`),
  };
}

/** Omits the remedy for incompatible rules, because {@link removeAll} already applies it. */
function reasonOf(error: unknown): string {
  const isFollowed = error instanceof ProgramError && error.kind === "incompatible";
  return isFollowed ? `${error.command}: ${error.what}` : messageOf(error);
}

/**
 * Whether the actual rules of a backend may translate connections. False for a table that only drops leaks. Throws
 * ProgramError.
 */
export async function translates(backend: Backend, families: readonly Family[] = FAMILIES): Promise<boolean> {
  return backend.translates ? backend.translates(families) : (await backend.actual(families)).length > 0;
}

/** The results from all places together. */
export interface Found<T> {
  readonly found: readonly T[];
  readonly failures: readonly PlaceFailure[];
}

/** A writer could not read or write its place. */
export interface PlaceFailure {
  readonly family: Family;
  readonly writer: string;
  readonly error: unknown;
  /** Whether another writer of the same place could read it. */
  readonly isCovered: boolean;
}

/**
 * Whether a failure hides no rules: another writer could read the same place, or kernel or program do not support rules
 * there.
 */
export function isHarmless({ isCovered, error }: PlaceFailure): boolean {
  return isCovered || failureKind(error) === "unsupported";
}

/**
 * Works on each place and family separately, so that one failure does not affect other places. If a place has several
 * writers, the first writer that finds rules counts: iptables cannot read rules of nft, and nft does not see the
 * comments of iptables. Throws nothing.
 */
export async function inEachPlace<T>(
  backends: readonly Backend[],
  families: readonly Family[],
  work: (backend: Backend, families: readonly [Family]) => Promise<readonly T[]>,
): Promise<Found<T>> {
  const found: T[] = [];
  const failures: PlaceFailure[] = [];
  for (const writers of Map.groupBy(backends, ({ place }) => place).values()) {
    for (const family of families) {
      const failed: Omit<PlaceFailure, "isCovered">[] = [];
      let read = 0;
      for (const backend of writers) {
        try {
          const results = await work(backend, [family]);
          read++;
          found.push(...results);
          if (results.length > 0) break;
        } catch (error) {
          failed.push({ family, writer: backend.writer, error });
        }
      }
      failures.push(...failed.map(it => ({ ...it, isCovered: read > 0 })));
    }
  }
  return { found, failures };
}
