import type { Family } from "../net/cidr.ts";
import { failureKind } from "../system/program.ts";
import type { Backend } from "./backend.ts";

/** What was found in all places together. */
export interface Found<T> {
  readonly found: readonly T[];
  readonly failures: readonly PlaceFailure[];
}

/** A writer could not read or write its place. */
export interface PlaceFailure {
  readonly family: Family;
  readonly writer: string;
  readonly error: unknown;
  /** Whether another writer of the same place could. */
  readonly isCovered: boolean;
}

/**
 * Whether no rules can be hidden by a failure: another writer could read the same place, or kernel or program cannot
 * have rules there.
 */
export function isHarmless({ isCovered, error }: PlaceFailure): boolean {
  return isCovered || failureKind(error) === "unsupported";
}

/**
 * Works on each place and family apart, so that a failure in one does not keep the others from being done. Of several
 * writers to one place the first that finds something counts: iptables cannot read what nft wrote, and nft does not see
 * the comments of iptables. Throws nothing.
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
