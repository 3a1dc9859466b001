import type { Position, Problem } from "./problem.ts";

/** A text and where each of its characters stands in the file that it came from. */
export interface Text {
  readonly file: string;
  readonly content: string;
  /** The place of the character at an offset in UTF-16 code units; columns count these units too. */
  at(offset: number): Required<Position>;
}

/**
 * The text of a file, without its byte order mark; or what is wrong with its bytes: they are not UTF-8, or
 * one is NUL.
 */
export function decode(file: string, bytes: Uint8Array): Text | Problem {
  let content: string;
  try {
    content = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return {
      severity: "error",
      at: wholeText(file, validStart(bytes)).at(Number.POSITIVE_INFINITY),
      what: "a byte that is not UTF-8",
      remedy: "save the file in UTF-8",
    };
  }
  const text = wholeText(file, content);
  const nul = content.indexOf("\0");
  if (nul < 0) return text;
  return { severity: "error", at: text.at(nul), what: "a NUL byte", remedy: "remove it" };
}

/** A text that is the whole content of a file. */
export function wholeText(file: string, content: string): Text {
  // Of the lines that were asked for so far, and those before: a hostile file may have millions.
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

/** How many of the ascending starts are no greater than the offset. */
function lineAt(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The text before the first byte that is not UTF-8; found by halving, since no decoder tells the place. */
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

/** Unlike a whole text, a start may end within a character. */
function decodeStart(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return undefined;
  }
}
