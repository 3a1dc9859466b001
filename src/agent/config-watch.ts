import { type FSWatcher, watch } from "node:fs";
import { lstat, readdir, readlink, statfs } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isConfigName } from "../config/sources.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import type { FileEvent } from "./completeness.ts";

/** An event of inotify: the path of the file without symbolic links, and what happened to it. */
export type Changed = (path: string, kind: FileEvent) => void;

/**
 * Reports what happens to the file or directory at a path, or on the way to it: a write, a rename, a symbolic link that
 * is swapped, as kubelet swaps `..data`, a directory that comes or goes. No file system is waited for on the event
 * loop: a thread looks at each directory first, and directories on FUSE or on a network file system are not watched.
 */
export class ConfigWatch {
  readonly #watched = new Map<string, Watched>();
  #stopped = false;
  /** Whether a directory is on a file system that inotify does not cover: other hosts may change it, or it may hang. */
  remote = false;

  constructor(
    readonly path: string,
    readonly changed: Changed,
    readonly lost: (why: string) => void,
  ) {}

  /**
   * Watches the directories that now lead to the path. inotify does not report a mount over one of them, so call this
   * before each regular look. Returns whether a directory is watched that was not before.
   */
  async follow(): Promise<boolean> {
    const { places, remote } = await placesOf(resolve(this.path));
    this.remote = remote;
    if (this.#stopped) return false;
    for (const [directory, { watcher, identity }] of this.#watched) {
      if (identity === places.get(directory)?.identity) continue;
      watcher.close();
      this.#watched.delete(directory);
    }
    let more = false;
    for (const [directory, { identity, names }] of places) {
      const known = this.#watched.get(directory);
      if (known) known.names = names;
      else {
        this.#watched.set(directory, { identity, names, watcher: this.#watch(directory) });
        more = true;
      }
    }
    return more;
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

interface Place {
  /** Device and inode: a directory that was made again under its old name, or mounted on it, has others. */
  readonly identity: string;
  names: Set<string>;
}

interface Watched extends Place {
  readonly watcher: FSWatcher;
}

/** In place of a name: whatever is in the directory. */
const ANY = "*";

/** The kernel's own limit. */
const MOST_LINKS = 40;

/**
 * FUSE, NFS, SMB, CIFS, SMB2, 9p, Ceph, AFS (of the kernel and OpenAFS), Coda, Lustre, OCFS2, GFS2: from the kernel's
 * include/uapi/linux/magic.h and statfs(2).
 */
const REMOTE = new Set([
  0x65735546, 0x6969, 0x517b, 0xff534d42, 0xfe534d42, 0x01021997, 0x00c36400, 0x6b414653, 0x5346414f,
  0x73757245, 0x0bd00bd0, 0x7461636f, 0x01161970,
]);

/** The directories on the way to a path, and which of their entries lead there. What is missing ends the way. */
async function placesOf(path: string): Promise<{ places: Map<string, Place>; remote: boolean }> {
  const places = new Map<string, Place>();
  const far = new Set<string>();
  const note = async (directory: string, name: string) => {
    const known = places.get(directory);
    if (known) return void known.names.add(name);
    const found = await looked(directory);
    if (!found || far.has(directory)) return;
    if (REMOTE.has((await statfs(directory)).type)) return void far.add(directory);
    places.set(directory, { identity: `${found.dev}:${found.ino}`, names: new Set([name]) });
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
    const found = await looked(here);
    if (!found) return undefined;
    if (!found.isSymbolicLink()) return found.isDirectory() || to === path || links > 0 ? here : undefined;
    if (++links > MOST_LINKS) return undefined;
    const target = await readlink(here);
    return walk(isAbsolute(target) ? target : join(directory, target));
  };
  const end = await walk(path);
  if (end !== undefined && (await looked(end))?.isDirectory()) {
    await note(end, ANY);
    for (const name of await readdir(end)) {
      links = 0;
      if (isConfigName(name)) await walk(join(end, name));
    }
  }
  // Also what lies below one of them is only reached through it.
  for (const directory of places.keys()) if (below(directory, far)) places.delete(directory);
  return { places, remote: far.size > 0 };
}

function below(directory: string, others: ReadonlySet<string>): boolean {
  return [...others].some(other => directory.startsWith(`${other}/`));
}

async function looked(path: string) {
  return lstat(path, { bigint: true }).catch(error => {
    if (["ENOENT", "ENOTDIR"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  });
}
