import type { Plan } from "../backends/backend.ts";
import { isUpstreamText } from "../backends/ownership.ts";

/** What a write changes of the rules in the kernel, in numbers of lines, with the first of each kind. */
export type Drift = {
  readonly added: number;
  readonly removed: number;
  /** Left out for a kernel without rules of ours. */
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

/** Those lines that the others do not have, or not so often. */
function beyond(lines: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter(line => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

/** What to do if the rules that were found are another agent's. */
export function remedyFor({ actual }: Plan): string | undefined {
  return actual.some(isUpstreamText) ? "another ip-masq-agent is running; remove it" : undefined;
}
