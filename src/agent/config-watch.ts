import { type FSWatcher, watch } from "node:fs";
import { lstat, readdir, readlink, statfs } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isConfigName } from "../config/sources.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import type { FileEvent } from "./completeness.ts";

/** Receives an inotify event: the real path of the file, and the kind of event. */
export type Changed = (path: string, kind: FileEvent) => void;

/**
 * Watches the file or directory at a path and every directory that leads there, symbolic links included, such as the
 * `..data` link that kubelet swaps. Directories on FUSE or on a network file system are not watched. If that file
 * system hung, adding a watch would block the event loop.
 */
export class ConfigWatch {
  readonly #watched = new Map<string, Watched>();
  #stopped = false;
  /**
   * Whether a directory is on FUSE or a network file system. Changes in it are not reported, so the path must be
   * polled.
   */
  remote = false;

  constructor(
    readonly path: string,
    readonly changed: Changed,
    readonly lost: (reason: string) => void,
  ) {}

  /**
   * Updates the watches to the directories that now lead to the path. inotify does not report mounts, so call this at
   * each look. Returns whether it added a watch.
   */
  async follow(): Promise<boolean> {
    const { directories, remote } = await directoriesTo(resolve(this.path));
    this.remote = remote;
    if (this.#stopped) return false;
    for (const [directory, { watcher, identity }] of this.#watched) {
      if (identity === directories.get(directory)?.identity) continue;
      watcher.close();
      this.#watched.delete(directory);
    }
    let added = false;
    for (const [directory, { identity, names }] of directories) {
      const known = this.#watched.get(directory);
      if (known) known.names = names;
      else {
        this.#watched.set(directory, { identity, names, watcher: this.#watch(directory) });
        added = true;
      }
    }
    return added;
  }

  stop(): void {
    this.#stopped = true;
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  #watch(directory: string): FSWatcher {
    return watch(directory, (event, name) => {
      const names = this.#watched.get(directory)?.names;
      if (name !== null && names && !names.has(name) && !names.has(ANY)) return;
      this.changed(name === null ? directory : join(directory, name), event);
    }).on("error", error => this.lost(messageOf(error)));
  }
}

interface Directory {
  /** Device and inode, which change if the directory is created again or mounted over. */
  readonly identity: string;
  /** The entries that lead to the config. */
  names: Set<string>;
}

interface Watched extends Directory {
  readonly watcher: FSWatcher;
}

/** The name that stands for all entries of a directory. */
const ANY = "*";

/** The kernel's limit for symbolic links in a path: path_resolution(7). */
const MOST_LINKS = 40;

/**
 * FUSE, NFS, SMB, CIFS, SMB2, 9p, Ceph, AFS (of the kernel and OpenAFS), Coda, Lustre, OCFS2, GFS2: from the kernel's
 * include/uapi/linux/magic.h and statfs(2).
 */
const REMOTE = new Set([
  0x65735546, 0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x01021997, 0x00c36400, 0x6b414653, 0x5346414f,
  0x73757245, 0x0bd00bd0, 0x7461636f, 0x01161970,
]);

/** The directories that lead to a path, up to the first missing entry, and the entries that are followed. */
async function directoriesTo(
  path: string,
): Promise<{ directories: Map<string, Directory>; remote: boolean }> {
  const directories = new Map<string, Directory>();
  const remote = new Set<string>();
  const note = async (directory: string, name: string) => {
    const known = directories.get(directory);
    if (known) return void known.names.add(name);
    const found = await statOf(directory);
    if (!found || remote.has(directory)) return;
    if (REMOTE.has((await statfs(directory)).type)) return void remote.add(directory);
    directories.set(directory, { identity: `${found.dev}:${found.ino}`, names: new Set([name]) });
  };
  let links = 0;
  const walk = async (to: string): Promise<string | undefined> => {
    const parent = dirname(to);
    if (parent === to) return to;
    const directory = await walk(parent);
    if (directory === undefined) return undefined;
    const name = basename(to);
    await note(directory, name);
    const here = join(directory, name);
    const found = await statOf(here);
    if (!found) return undefined;
    if (!found.isSymbolicLink()) return found.isDirectory() || to === path || links > 0 ? here : undefined;
    if (++links > MOST_LINKS) return undefined;
    const target = await readlink(here);
    return walk(isAbsolute(target) ? target : join(directory, target));
  };
  const end = await walk(path);
  if (end !== undefined && (await statOf(end))?.isDirectory()) {
    await note(end, ANY);
    for (const name of await readdir(end)) {
      links = 0;
      if (isConfigName(name)) await walk(join(end, name));
    }
  }
  // Directories below a remote directory may also hang.
  for (const directory of directories.keys()) if (isBelow(directory, remote)) directories.delete(directory);
  return { directories, remote: remote.size > 0 };
}

function isBelow(directory: string, others: ReadonlySet<string>): boolean {
  return [...others].some(other => directory.startsWith(`${other}/`));
}

async function statOf(path: string) {
  return lstat(path, { bigint: true }).catch(error => {
    if (["ENOENT", "ENOTDIR"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  });
}
