import { writeSync } from "node:fs";
import { codeOf, messageOf } from "./errors.ts";

/** Standard output cannot be written, for another reason than a reader that closed the pipe. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

/** Milliseconds between tries on a full pipe that does not block. */
const FULL_MS = 5;

/**
 * Appends all of `text` to standard output. Waits while a pipe takes no more. Returns false if the reader closed the
 * pipe, as `head` does once it has enough. Throws {@link OutputError}.
 *
 * `Bun.write` is not used because it truncates a file that it has nothing to add to, and `appendFileSync` gives up at a
 * full pipe that does not block (EAGAIN).
 */
export function toStandardOutput(text: string): boolean {
  let rest: Uint8Array = new TextEncoder().encode(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(1, rest));
    } catch (error) {
      const code = codeOf(error);
      if (code === "EPIPE") return false;
      if (code !== "EAGAIN") throw new OutputError(`cannot print: ${messageOf(error)}`);
      Bun.sleepSync(FULL_MS);
    }
  }
  return true;
}
