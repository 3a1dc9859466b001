import { type FSWatcher, lstatSync, readdirSync, readlinkSync, watch } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import type { Watch } from "../backends/backend.ts";

/**
 * Calls `changed` when something happens to the file or directory at a path, or on the way to it: a write, a
 * rename, a symbolic link that is swapped, as kubelet swaps `..data`, a directory that comes or goes. Where inotify
 * gives out `lost` is told why, once for each reason.
 */
export function watchConfig(path: string, changed: () => void, lost: (why: string) => void): Watch {
  const watched = new Map<string, Watched>();
  let told = "";
  const tell = (error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    if (why !== told) lost(why);
    told = why;
  };
  const follow = () => {
    const wanted = placesOf(resolve(path));
    for (const [directory, { watcher, inode }] of watched) {
      if (inode === wanted.get(directory)?.inode) continue;
      watcher.close();
      watched.delete(directory);
    }
    for (const [directory, { inode, names }] of wanted) {
      const known = watched.get(directory);
      if (known) known.names = names;
      else watched.set(directory, { inode, names, watcher: watchDirectory(directory) });
    }
  };
  const watchDirectory = (directory: string): FSWatcher =>
    watch(directory, (_event, name) => {
      const names = watched.get(directory)?.names;
      if (name !== null && names && !names.has(name) && !names.has(ANY)) return;
      attempt(follow, tell);
      changed();
    }).on("error", tell);
  attempt(follow, tell);
  return {
    stop() {
      for (const { watcher } of watched.values()) watcher.close();
      watched.clear();
    },
  };
}

interface Watched {
  /** A directory that was made again under its old name has another one. */
  readonly inode: bigint;
  readonly watcher: FSWatcher;
  names: ReadonlySet<string>;
}

/** In place of a name: whatever is in the directory. */
const ANY = "*";

/** The kernel's own limit. */
const MOST_LINKS = 40;

/** The directories on the way to a path, and which of their entries lead there. What is missing ends the way. */
function placesOf(path: string): Map<string, { inode: bigint; names: Set<string> }> {
  const places = new Map<string, { inode: bigint; names: Set<string> }>();
  const note = (directory: string, name: string) => {
    const inode = lstatSync(directory, { bigint: true, throwIfNoEntry: false })?.ino;
    if (inode === undefined) return;
    const place = places.get(directory) ?? { inode, names: new Set() };
    places.set(directory, place);
    place.names.add(name);
  };
  let links = 0;
  const walk = (to: string): string | undefined => {
    const parent = dirname(to);
    if (parent === to) return to;
    const directory = walk(parent);
    if (directory === undefined) return undefined;
    const name = basename(to);
    note(directory, name);
    const here = join(directory, name);
    const found = lstatSync(here, { throwIfNoEntry: false });
    if (!found) return undefined;
    if (!found.isSymbolicLink()) return found.isDirectory() || to === path || links > 0 ? here : undefined;
    if (++links > MOST_LINKS) return undefined;
    const target = readlinkSync(here);
    return walk(isAbsolute(target) ? target : join(directory, target));
  };
  const end = walk(path);
  if (end !== undefined && lstatSync(end, { throwIfNoEntry: false })?.isDirectory()) {
    note(end, ANY);
    for (const name of readdirSync(end)) {
      links = 0;
      if (name.startsWith("ip-masq")) walk(join(end, name));
    }
  }
  return places;
}

function attempt(follow: () => void, failed: (error: unknown) => void): void {
  try {
    follow();
  } catch (error) {
    failed(error);
  }
}
