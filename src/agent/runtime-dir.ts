import { lstatSync, mkdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { codeOf } from "../system/errors.ts";

/** Paths of the lock file and of the active agent's socket. */
export interface RuntimePaths {
  readonly lock: string;
  readonly socket: string;
}

/** Paths in a runtime directory. Each network namespace has its own rules, so it needs its own lock. */
export function runtimePaths(directory: string): RuntimePaths {
  const name = join(directory, `agent-${networkNamespace()}`);
  return { lock: `${name}.lock`, socket: `${name}.sock` };
}

function networkNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/net"))?.[0] ?? "unknown";
  } catch {
    return "unknown"; // /proc is not mounted
  }
}

/**
 * Creates the runtime directory if it is missing. Throws Error if this user does not own the directory, or if other
 * users can write to it.
 */
export function prepareRuntimeDir(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
  const { uid, mode } = lstatSync(directory);
  if ((mode & S_IFMT) !== S_IFDIR) throw new Error("it is not a directory");
  if (uid !== process.geteuid?.()) throw new Error(`it belongs to user ${uid}`);
  if ((mode & 0o022) !== 0) throw new Error("others can write to it");
}

/** The mask of the file type, and the type of a directory: inode(7). */
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
