import type { Plan } from "../backends/backend.ts";
import { isUpstreamText } from "../backends/ownership.ts";

/** How many rules a write adds and removes, with the first of each. */
export type Drift = {
  readonly added: number;
  readonly removed: number;
  /** Omitted if the kernel had no rules of ours. */
  readonly firstAdded?: string;
  readonly firstRemoved?: string;
};

export function driftOf({ actual, desired }: Plan): Drift {
  const added = beyond(desired, actual);
  const removed = beyond(actual, desired);
  return {
    added: added.length,
    removed: removed.length,
    ...(actual.length > 0 && added[0] ? { firstAdded: added[0].trim() } : {}),
    ...(removed[0] ? { firstRemoved: removed[0].trim() } : {}),
  };
}

/** The lines that the others lack. A line that occurs more often than in the others is included that many times. */
function beyond(lines: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter(line => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

/** The remedy if the rules in the kernel are those of the upstream agent. */
export function remedyFor({ actual }: Plan): string | undefined {
  return actual.some(isUpstreamText) ? "another ip-masq-agent is running; remove it" : undefined;
}
