import { appendFileSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { codeOf, messageOf } from "./errors.ts";

const STDOUT = 1;
const STDERR = 2;

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
      rest = rest.subarray(writeSync(STDOUT, rest));
    } catch (error) {
      const code = codeOf(error);
      if (code === "EPIPE") return false;
      if (code !== "EAGAIN") throw new OutputError(`cannot print: ${messageOf(error)}`);
      Bun.sleepSync(FULL_MS);
    }
  }
  return true;
}

/** Writes to standard error. Text that cannot be written, as to a full disk, is lost without an error. */
export function toStandardError(text: string): void {
  try {
    appendFileSync(STDERR, text);
  } catch {
    // there is nowhere to report it
  }
}

/**
 * Returns a function that writes lines to a pipe without waiting for its reader; it returns false if the line is lost
 * because the pipe is full. Other files are written to as by {@link toStandardError}.
 *
 * It reopens the pipe through /proc, so that only this descriptor does not block. systemd's journal is a socket with a
 * buffer of 8 MiB.
 *
 * @param fd the pipe, standard error unless a test says otherwise
 */
export function lineWriter(fd = STDERR): (line: string) => boolean {
  const pipe = reopened(fd);
  if (pipe === undefined) {
    return line => {
      toStandardError(line);
      return true;
    };
  }
  // The rest of a line longer than 4096 bytes, the most that a pipe takes whole or not at all.
  let rest = new Uint8Array();
  return line => {
    try {
      rest = rest.subarray(writeSync(pipe, rest));
      if (rest.length > 0) return false;
      const bytes = new TextEncoder().encode(line);
      rest = bytes.subarray(writeSync(pipe, bytes));
      return true;
    } catch (error) {
      return codeOf(error) !== "EAGAIN";
    }
  };
}

function reopened(fd: number): number | undefined {
  try {
    if (!fstatSync(fd).isFIFO()) return undefined;
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}
