import { appendFileSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { codeOf } from "./errors.ts";

const STDERR = 2;

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
