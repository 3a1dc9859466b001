import { type FSWatcher, lstatSync, readdirSync, readlinkSync, watch } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import type { Watch } from "../backends/backend.ts";
import { isConfigName } from "../config/config-name.ts";

/**
 * Calls `changed` when something happens to the file or directory at a path, or on the way to it: a write, a
 * rename, a symbolic link that is swapped, as kubelet swaps `..data`, a directory that comes or goes. Where inotify
 * gives out `lost` is told why, once for each reason.
 */
export function watchConfig(path: string, changed: () => void, lost: (why: string) => void): ConfigWatch {
  const watched = new Map<string, Watched>();
  let told = "";
  const tell = (error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    if (why !== told) lost(why);
    told = why;
  };
  const follow = () => {
    const wanted = placesOf(resolve(path));
    for (const [directory, { watcher, identity }] of watched) {
      if (identity === wanted.get(directory)?.identity) continue;
      watcher.close();
      watched.delete(directory);
    }
    for (const [directory, { identity, names }] of wanted) {
      const known = watched.get(directory);
      if (known) known.names = names;
      else watched.set(directory, { identity, names, watcher: watchDirectory(directory) });
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
    follow: () => attempt(follow, tell),
    stop() {
      for (const { watcher } of watched.values()) watcher.close();
      watched.clear();
    },
  };
}

interface ConfigWatch extends Watch {
  /** Looks again which directories lead to the path: what is mounted on one of them is told to nobody. */
  follow(): void;
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

/** The directories on the way to a path, and which of their entries lead there. What is missing ends the way. */
function placesOf(path: string): Map<string, Place> {
  const places = new Map<string, Place>();
  const note = (directory: string, name: string) => {
    const found = lstatSync(directory, { bigint: true, throwIfNoEntry: false });
    if (!found) return;
    const place = places.get(directory) ?? { identity: `${found.dev}:${found.ino}`, names: new Set() };
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
      if (isConfigName(name)) walk(join(end, name));
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
