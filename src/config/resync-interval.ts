import { formatDuration, parseDuration } from "../net/duration.ts";
import type { ParseFailure } from "../net/parse-failure.ts";

/**
 * Reads a resync interval as Go writes durations. Returns milliseconds, up to what a timer can hold; one that is shorter
 * than 1 s counts as 1 s, since ip-masq-agent takes it.
 */
export function parseResyncInterval(text: string): number | ParseFailure {
  const interval = parseDuration(text);
  if (typeof interval !== "number") return interval;
  if (interval > LONGEST_MS) {
    return { what: `"${text}" is too long`, remedy: `write at most ${formatDuration(LONGEST_MS)}` };
  }
  return Math.max(interval, SHORTEST_RESYNC_MS);
}

const SHORTEST_RESYNC_MS = 1000;

/** The fault of a duration that is raised to the minimum; undefined if it is long enough. */
export function raisedInterval(text: string): ParseFailure | undefined {
  const interval = parseDuration(text);
  if (typeof interval !== "number" || interval >= SHORTEST_RESYNC_MS) return undefined;
  return { what: `"${text}" is too short and counts as 1s`, remedy: "write at least 1s" };
}

/** 596 hours: a timer counts milliseconds in 31 bits, and this is the last whole hour that fits. */
const LONGEST_MS = 596 * 3_600_000;
