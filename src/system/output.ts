import { appendFileSync, constants, fstatSync, openSync, statSync, writeSync } from "node:fs";
import { codeOf, messageOf } from "./errors.ts";

const STDOUT = 1;
const STDERR = 2;

/** Standard output cannot be written. A reader that closes the pipe is not an error. */
export class OutputError extends Error {
  override readonly name = "OutputError";
}

/** Milliseconds between attempts to write to a full non-blocking pipe. */
const FULL_MS = 5;

/**
 * Appends text to standard output and waits while a pipe is full. Returns false if the reader closed the pipe, as
 * `head` does. Throws {@link OutputError}.
 *
 * `Bun.write` would truncate a file if the text is empty, and `appendFileSync` fails on a full non-blocking pipe (EAGAIN).
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

/** Whether standard output is a terminal. */
export async function isTerminal(): Promise<boolean> {
  // Loading it takes 3 ms, which the agent's start does not need.
  const { isatty } = await import("node:tty");
  return isatty(STDOUT);
}

/** Whether standard output is /dev/null. Bun opens /dev/null at its start if standard output is closed. */
export function isOutputDiscarded(): boolean {
  return fstatSync(STDOUT).rdev === statSync("/dev/null", { throwIfNoEntry: false })?.rdev;
}

/** Writes to standard error. Text that cannot be written, for example to a full disk, is lost without an error. */
export function toStandardError(text: string): void {
  try {
    appendFileSync(STDERR, text);
  } catch {
    // There is no other place to report it.
  }
}

/**
 * Returns a function that writes a line to a pipe without waiting for the reader. The function returns false if the
 * pipe is full and the line is lost. If the file is not a pipe, it writes like {@link toStandardError}.
 *
 * The pipe is reopened through /proc, so that only this descriptor is non-blocking. systemd's journal is not a pipe
 * but a socket, with a buffer of 8 MiB.
 *
 * @param fd the pipe; only tests set it
 */
export function lineWriter(fd = STDERR): (line: string) => boolean {
  const pipe = reopened(fd);
  if (pipe === undefined) {
    return line => {
      toStandardError(line);
      return true;
    };
  }
  // The rest of a line over 4096 bytes (PIPE_BUF), because longer writes are not atomic.
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
