import { Database } from "bun:sqlite";
import { closeSync, fstatSync, openSync, readFileSync, type Stats, statSync } from "node:fs";
import { codeOf } from "./errors.ts";

/**
 * An exclusive lock on a file, which the kernel releases when the process ends, however it ends.
 *
 * It is a lock of fcntl(2). Bun has no call for that without bun:ffi, which needs the JIT; but its SQLite takes one for
 * a transaction that will write. Nothing is written: the file stays empty. Takes 0.6 ms and 2 MB, most of it pages of
 * the binary.
 */
export class FileLock {
  readonly #database: Database;
  /** Keeps the inode number from being used again. */
  readonly #file: number;
  #held = false;

  /** Opens the file, and makes it if it is missing, for its owner alone. Throws Error if that fails. */
  constructor(readonly path: string) {
    this.#file = openSync(path, "a", 0o600);
    try {
      this.#database = new Database(path);
      // Without a journal in memory SQLite would make a file beside it.
      this.#database.exec("PRAGMA journal_mode = MEMORY; PRAGMA busy_timeout = 0");
    } catch (error) {
      closeSync(this.#file);
      throw error;
    }
  }

  /**
   * Takes the lock if it is free, and returns whether this process holds it. Takes 10 µs. Throws Error where locks do
   * not work.
   */
  take(): boolean {
    if (this.#held) return true;
    try {
      this.#database.exec("BEGIN IMMEDIATE");
      this.#held = true;
    } catch (error) {
      if (codeOf(error) !== "SQLITE_BUSY") throw error;
    }
    return this.#held;
  }

  /** Whether the path still leads to the file that was opened: if not, another process may lock another file there. */
  get isInPlace(): boolean {
    const there = stat(this.path);
    const { ino, dev } = fstatSync(this.#file);
    return there?.ino === ino && there.dev === dev;
  }

  /** The process that holds the lock, as this process sees it; undefined if it is in another PID namespace. */
  get holder(): number | undefined {
    const { ino } = fstatSync(this.#file);
    const line = new RegExp(`\\bWRITE (\\d+) [0-9a-f:]+:${ino} ${RESERVED_BYTE} `).exec(read("/proc/locks"));
    return Number(line?.[1] ?? 0) || undefined;
  }

  /** Gives the lock back. */
  close(): void {
    this.#held = false;
    this.#database.close();
    closeSync(this.#file);
  }
}

/** The byte that SQLite locks for a transaction that will write, as /proc/locks prints it. */
const RESERVED_BYTE = 0x4000_0001;

function stat(path: string): Stats | undefined {
  return statSync(path, { throwIfNoEntry: false });
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
