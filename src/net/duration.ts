import type { ParseFailure } from "./parse-failure.ts";

const NANOSECONDS: Record<string, number> = {
  ns: 1,
  us: 1e3,
  µs: 1e3, // U+00B5, the micro sign
  μs: 1e3, // U+03BC, the Greek letter
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Go's largest duration: 2^63 - 1 nanoseconds, about 292 years. */
const MAX_NANOSECONDS = 2 ** 63;

/**
 * Parses a duration like Go's `time.ParseDuration` (`60s`, `1h30m`, `1.5h`, `-2m500ms`, `0`). Returns milliseconds, which
 * may have a fraction.
 */
export function parseDuration(text: string): number | ParseFailure {
  const sign = /^[-+]/.exec(text)?.[0] ?? "";
  let rest = text.slice(sign.length);
  if (rest === "0") return 0;
  if (/^\d+(\.\d*)?$/.test(rest)) {
    return { what: `"${text}" has no unit`, remedy: `did you mean "${text}s"?` };
  }
  let nanoseconds = 0;
  do {
    const part = /^(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/.exec(rest);
    if (!part) {
      return {
        what: `"${text}" is not a duration`,
        remedy: 'write numbers with units, for example "60s" or "1h30m"',
      };
    }
    nanoseconds += Number(part[1]) * (NANOSECONDS[part[2] ?? ""] ?? Number.NaN);
    rest = rest.slice(part[0].length);
  } while (rest !== "");
  if (nanoseconds >= MAX_NANOSECONDS) {
    return { what: `"${text}" is longer than 292 years`, remedy: "write a shorter one" };
  }
  return ((sign === "-" ? -1 : 1) * nanoseconds) / 1e6;
}

/** Formats milliseconds like a Go duration: `1m0s`, `1h30m0s`, `1.5s`, `500ms`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 0) return `-${formatDuration(-milliseconds)}`;
  if (milliseconds === 0) return "0s";
  if (milliseconds < 1000) return `${milliseconds}ms`;
  const hours = Math.floor(milliseconds / 3_600_000);
  const minutes = Math.floor((milliseconds % 3_600_000) / 60_000);
  const seconds = (milliseconds % 60_000) / 1000;
  return `${hours > 0 ? `${hours}h` : ""}${hours > 0 || minutes > 0 ? `${minutes}m` : ""}${seconds}s`;
}

/**
 * Parses a resync interval, a Go duration. Returns milliseconds, limited to the longest timer. An interval under 1 s
 * counts as 1 s, because ip-masq-agent accepts it; see {@link raisedInterval}.
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

/** The warning about an interval under 1 s; undefined if it is long enough. */
export function raisedInterval(text: string): ParseFailure | undefined {
  const interval = parseDuration(text);
  if (typeof interval !== "number" || interval >= SHORTEST_RESYNC_MS) return undefined;
  return { what: `"${text}" is too short and counts as 1s`, remedy: "write at least 1s" };
}

/** A timer counts milliseconds in 31 bits; 596 hours is the last whole hour that fits. */
const LONGEST_MS = 596 * 3_600_000;
