import type { ConfigError, Position, Problem } from "./problem.ts";

/** A text, and the place of each of its characters in the file. */
export interface Text {
  readonly file: string;
  readonly content: string;
  /** The place of the character at an offset. Offset and column count UTF-16 code units. */
  at(offset: number): Required<Position>;
}

/** The text of a file without its byte order mark, or the error if it has a NUL byte or is not UTF-8. */
export function decode(file: string, bytes: Uint8Array): Text | Problem {
  let content: string;
  try {
    content = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return {
      severity: "error",
      at: wholeText(file, validStart(bytes)).at(Number.POSITIVE_INFINITY),
      what: "invalid UTF-8",
      remedy: "save the file as UTF-8",
    };
  }
  const text = wholeText(file, content);
  const nul = content.indexOf("\0");
  if (nul < 0) return text;
  return { severity: "error", at: text.at(nul), what: "a NUL byte", remedy: "remove it" };
}

/** The whole content of a file as a text. */
export function wholeText(file: string, content: string): Text {
  // Starts of lines are searched only as far as needed, since a hostile file may have millions of lines.
  const starts = [0];
  let searched = 0;
  return {
    file,
    content,
    at(offset) {
      const inside = Math.min(Math.max(offset, 0), content.length);
      while (searched >= 0 && searched <= inside) {
        const newline = content.indexOf("\n", searched);
        if (newline >= 0) starts.push(newline + 1);
        searched = newline < 0 ? newline : newline + 1;
      }
      const line = lineAt(starts, inside);
      return { file, line, column: inside - (starts[line - 1] ?? 0) + 1 };
    },
  };
}

/** The number of ascending starts up to the offset, which is usually in one of the last two lines. */
function lineAt(starts: readonly number[], offset: number): number {
  const { length } = starts;
  if ((starts[length - 2] ?? 0) <= offset) return (starts[length - 1] ?? 0) <= offset ? length : length - 1;
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The text before the first byte that is not UTF-8. Found by bisection, since decoders do not report the place. */
function validStart(bytes: Uint8Array): string {
  let valid = 0;
  let invalid = bytes.length + 1;
  while (invalid - valid > 1) {
    const middle = (valid + invalid) >>> 1;
    if (decodeStart(bytes.subarray(0, middle)) === undefined) invalid = middle;
    else valid = middle;
  }
  return decodeStart(bytes.subarray(0, valid)) ?? "";
}

/** Decodes the start of a text, which may end within a character. */
function decodeStart(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return undefined;
  }
}

/** Limits for the time and memory that the YAML parser spends on a text. */
export interface Limits {
  readonly documents: number;
  /** Levels of nested lists and mappings. */
  readonly depth: number;
  /** Lines of a list, each with a comment at its end. */
  readonly entries: number;
  /** Keys and values. An alias counts as one entry. */
  readonly values: number;
}

/**
 * The limits of a config. The number of entries follows from the stated `cidrLimit`, so that a small config cannot
 * keep the parser busy for seconds. Measured: an entry takes up to 13 µs and 1 KB, one with errors 30 µs.
 */
export function configLimits(content: string): Limits {
  const entries = Math.min(Math.max(4 * statedCidrLimit(content), FEWEST_ENTRIES), MOST_ENTRIES);
  return { documents: 1, depth: 32, entries, values: MOST_ELEMENTS + MOST_KEYS };
}

/** The limits of a manifest, which may be a whole Helm chart with its CRDs. A ConfigMap has at most 1 MiB. */
export const MANIFEST_LIMITS: Limits = {
  documents: 1000,
  depth: 100,
  entries: 250_000,
  values: Number.POSITIVE_INFINITY,
};

/** The largest number after `cidrLimit` anywhere in a text, or 0. */
function statedCidrLimit(content: string): number {
  let largest = 0;
  for (const [, digits] of content.matchAll(/\bcidrLimit\W{1,8}(\d{1,15})/gi)) {
    largest = Math.max(largest, Number(digits));
  }
  return largest;
}

const FEWEST_ENTRIES = 10_000;
export const MOST_ENTRIES = 250_000;

/** Keys, known or not, that a config may have besides its entries. */
const MOST_KEYS = 1000;

/**
 * The maximum number of entries in all lists together, of both families and all files, with aliases expanded. The
 * memory limit in the manifest is 768 MiB. When such a list changed, a running agent and nft took up to 477 MB for IPv4
 * and 628 MB for IPv6 in their cgroup (kernel 6.18, nft 1.0.6, 2 cores).
 */
export const MOST_ELEMENTS = 100_000;

/** The error for more entries than {@link MOST_ELEMENTS}. */
export function tooManyElements(at: Position, entries: string): ConfigError {
  return {
    severity: "error",
    at,
    what: `${entries} entries in all lists together exceed the limit of ${MOST_ELEMENTS}`,
    remedy: "merge adjacent CIDRs, or remove some",
  };
}
