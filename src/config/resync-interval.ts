import { formatDuration, parseDuration } from "../net/duration.ts";
import type { Fault } from "../net/fault.ts";

/** Reads a resync interval as Go writes durations. Returns milliseconds, from 1 s up to what a timer can hold. */
export function parseResyncInterval(text: string): number | Fault {
  const interval = parseDuration(text);
  if (typeof interval !== "number") return interval;
  if (interval < SHORTEST_MS) return { what: `"${text}" is too short`, remedy: "write at least 1s" };
  if (interval > LONGEST_MS) {
    return { what: `"${text}" is too long`, remedy: `write at most ${formatDuration(LONGEST_MS)}` };
  }
  return interval;
}

const SHORTEST_MS = 1000;

/** 596 hours: a timer counts milliseconds in 31 bits, and this is the last whole hour that fits. */
const LONGEST_MS = 596 * 3_600_000;
