import { type BigIntStats, constants } from "node:fs";
import { open, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

/** The state of a file, to find out whether it changed. */
export interface FileState {
  /** Device, inode and time of birth. A file that replaces another file has another identity. */
  readonly identity: string;
  /** Size, and time of the last write in nanoseconds. */
  readonly modified: string;
  /** Time of the last write or change of name or attributes, in nanoseconds since 1970. */
  readonly changed: bigint;
  /** Whether name or attributes changed after the last write. */
  readonly renamedLater: boolean;
}

export function fileState({ dev, ino, birthtimeNs, size, mtimeNs, ctimeNs }: BigIntStats): FileState {
  return {
    identity: `${dev}:${ino}:${birthtimeNs}`,
    modified: `${size}:${mtimeNs}`,
    changed: ctimeNs,
    renamedLater: mtimeNs < ctimeNs,
  };
}

/** A file's bytes, its state before they were read, and its path without symbolic links. */
interface FileContent extends FileState {
  readonly bytes: Uint8Array;
  readonly real: string;
}

/** Small because each sync reads the config, and filling 4 MiB with zeros takes half a millisecond. */
const PIECE_BYTES = 64 * 1024;

/**
 * Reads a regular file, up to one byte more than `limit`. Returns undefined if the file is not regular; a FIFO does
 * not block. Throws the errors of the system calls.
 */
export async function readRegularFile(path: string, limit: number): Promise<FileContent | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const found = await file.stat({ bigint: true });
    if (!found.isFile()) return undefined;
    const real = await readlink(`/proc/self/fd/${file.fd}`).catch(() => realpath(path));
    const pieces: Uint8Array[] = [];
    let length = 0;
    for (let read = -1; read !== 0 && length <= limit; length += read) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, limit + 1 - length));
      read = (await file.read(piece)).bytesRead;
      pieces.push(piece.subarray(0, read));
    }
    return { ...fileState(found), bytes: Buffer.concat(pieces), real };
  } finally {
    await file.close();
  }
}

/** The path that a broken symbolic link leads to, followed as far as it exists. */
export async function brokenPath(path: string, links = MOST_LINKS): Promise<string> {
  const parent = dirname(resolve(path));
  if (parent === resolve(path)) return parent;
  const directory = await realpath(parent).catch(() => brokenPath(parent, links));
  const here = join(directory, basename(path));
  const target = await readlink(here).catch(() => undefined);
  return target === undefined || links === 0 ? here : brokenPath(resolve(directory, target), links - 1);
}

/** The kernel's own limit. */
const MOST_LINKS = 40;
