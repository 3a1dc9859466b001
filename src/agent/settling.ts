import type { FileLook, Look } from "../config/sources.ts";

/** What inotify reports of a name: it came, went or was replaced; or its file was written. */
export type FileEvent = "rename" | "change";

/**
 * Whether a process has a file open for writing. `none`: every process on the node was examined; `unseen`: no writer
 * was found, but some processes could not be examined.
 */
export type Writers = "open" | "none" | "unseen";

/** Facts about a file beyond its content, from after the previous look. */
export interface Surroundings {
  readonly writers: Writers;
  /** Whether its file system is full, so that the end of what was written may be missing. */
  readonly full: boolean;
}

/** Whether the files may be used, or how long to wait at most before the next look, in milliseconds. */
export type Judgement =
  | { readonly complete: true }
  | {
      readonly complete: false;
      readonly wait: number;
      /** Real paths of the files whose {@link Surroundings} matter. */
      readonly unclear: readonly string[];
      /** A file that is not waited for, but may have been cut off. */
      readonly cutOff: string | undefined;
    };

/** A file, without its bytes. */
export interface Seen extends Omit<FileLook, "bytes"> {
  /** Whether it changed within the last few seconds, by the clock of its file system. */
  readonly recent: boolean;
}

/** What is judged of a look. */
export type Observation = Pick<Look, "absent" | "problems"> & { readonly files: readonly Seen[] };

/** How a file came to be as it is. `start`: it was so when the agent began. */
type Way = "start" | "swapped" | "new" | "written";

interface File {
  /** As it was when the files were last complete. */
  accepted?: Seen | undefined;
  /** As it was when last looked at, if that is not what was accepted. */
  candidate?: { seen: Seen | undefined; since: number; way: Way; cutOff: boolean } | undefined;
  /** Where the path led when nothing was there. */
  destination?: string | undefined;
  /** Whether a writer was seen since it was last accepted. */
  writing: boolean;
}

/**
 * Decides whether the files of a config are complete or one of them is still being written. Pure: it gets observations
 * and times as arguments.
 *
 * A symbolic link that leads to another file and a file that was renamed to the path are complete at once: they are
 * written elsewhere. A file that is written in place is complete when its last writer has closed it, or when it has not
 * changed for `quiet` milliseconds; so is the removal of a file, since editors remove files that they write anew. An
 * empty file is complete only when it is quiet. A file that was written in place on a full file system is not complete
 * until it changes again. In doubt, a file counts as written in place.
 */
export class Settling {
  readonly #files = new Map<string, File>();
  /** By real path: the last event since the file was accepted, and its number. */
  readonly #events = new Map<string, { kind: FileEvent; number: number }>();
  #number = 0;
  #first = true;

  constructor(readonly quiet: number) {}

  /** Notes an event, by the real path of the file. */
  event(real: string, kind: FileEvent): void {
    this.#events.set(real, { kind, number: ++this.#number });
  }

  /** Number of the last event: one that comes after it may not have been seen by a look that began now. */
  get events(): number {
    return this.#number;
  }

  /**
   * Judges a look.
   *
   * @param now milliseconds of a monotonic clock
   * @param events {@link events} when the look began
   * @param surroundings what else is known of a file, by its real path
   */
  judge(
    look: Observation,
    now: number,
    events: number,
    surroundings: ReadonlyMap<string, Surroundings>,
  ): Judgement {
    const unclear: string[] = [];
    const waits = look.files.map(seen => {
      const file = this.#file(seen.path);
      const wait = this.#wait(file, seen, now, surroundings.get(seen.real));
      if (wait > 0 && !(file.candidate?.way === "new" && this.#renamed(seen))) unclear.push(seen.real);
      return wait;
    });
    const present = new Set(look.files.map(({ path }) => path));
    const refused = new Set(look.problems.map(({ at }) => at.file));
    for (const [path, file] of this.#files) {
      if (!present.has(path) && !refused.has(path)) waits.push(this.#waitForReturn(file, now));
    }
    for (const { path, real } of look.absent) this.#file(path).destination = real;
    this.#first = false;
    const wait = Math.max(0, ...waits);
    if (wait > 0) {
      const cutOff = [...this.#files].find(([, { candidate }]) => candidate?.cutOff)?.[0];
      return { complete: false, wait, unclear, cutOff };
    }
    this.#accept(look, refused, events);
    return { complete: true };
  }

  #file(path: string): File {
    const known = this.#files.get(path);
    if (known) return known;
    const file: File = { writing: false };
    this.#files.set(path, file);
    return file;
  }

  #wait(file: File, seen: Seen, now: number, around: Surroundings | undefined): number {
    if (file.accepted?.digest === seen.digest) {
      // Nothing to apply. Later writes to this file count as in place.
      file.accepted = seen;
      file.candidate = undefined;
      return 0;
    }
    const before = file.candidate;
    // Writers were looked for before a state that is new.
    const known = before !== undefined && same(before.seen, seen);
    const candidate = known ? before : { seen, since: now, way: this.#way(file, seen), cutOff: false };
    file.candidate = candidate;
    if (around?.writers === "open") file.writing = true;
    const age = now - candidate.since;
    const left = this.quiet - age;
    if (candidate.way === "swapped") return 0;
    if (candidate.way === "start") {
      if (left <= 0 || !seen.recent || (known && around && around.writers !== "open")) return 0;
      if (known && around) candidate.way = "written";
      return left;
    }
    if (candidate.way === "new" && this.#renamed(seen)) {
      return seen.renamedLater ? 0 : Math.max(Math.min(left, REPORT_MS - age), 0);
    }
    if (around?.full) candidate.cutOff = true;
    if (candidate.cutOff) return this.quiet;
    // The surroundings must have been examined after the last write, even a write that failed.
    if (!known || !around) return Math.max(left, 1);
    const closed = around.writers === "none" || (around.writers === "unseen" && file.writing);
    return closed && !seen.empty ? 0 : Math.max(left, 0);
  }

  /** Whether the last event of its name is that it appeared, with content. */
  #renamed({ real, empty }: Seen): boolean {
    return !empty && this.#events.get(real)?.kind === "rename";
  }

  #way({ candidate, accepted, destination }: File, seen: Seen): Way {
    const before = candidate ? candidate.seen : accepted;
    if (before?.identity === seen.identity && before.real === seen.real) {
      const onlyAttributes = before.modified === seen.modified && before.digest === seen.digest;
      return candidate && onlyAttributes ? candidate.way : "written";
    }
    if (this.#first) return "start";
    return (before?.real ?? accepted?.real ?? destination ?? seen.own) === seen.real ? "new" : "swapped";
  }

  #waitForReturn(file: File, now: number): number {
    if (!file.accepted) {
      file.candidate = undefined;
      return 0;
    }
    if (!file.candidate || file.candidate.seen)
      file.candidate = { seen: undefined, since: now, way: "written", cutOff: false };
    return Math.max(this.quiet - (now - file.candidate.since), 0);
  }

  #accept({ files, absent }: Observation, refused: ReadonlySet<string>, events: number): void {
    const present = new Map(files.map(seen => [seen.path, seen]));
    const destinations = new Map(absent.map(({ path, real }) => [path, real]));
    for (const [path, file] of this.#files) {
      const seen = present.get(path);
      const destination = destinations.get(path) ?? file.destination;
      if (seen) this.#files.set(path, { accepted: seen, writing: false });
      else if (!refused.has(path)) this.#files.set(path, { destination, writing: false });
      if (!seen && !refused.has(path) && destination === undefined) this.#files.delete(path);
    }
    for (const [real, { number }] of this.#events) if (number <= events) this.#events.delete(real);
  }
}

/**
 * Milliseconds within which inotify's reports of writes arrive here. A file that was renamed to the path in the same
 * tick of the kernel's clock as it was written looks like one that was created there, except for these.
 */
const REPORT_MS = 20;

function same(a: Seen | undefined, b: Seen): boolean {
  return (
    a !== undefined &&
    a.identity === b.identity &&
    a.real === b.real &&
    a.modified === b.modified &&
    a.changed === b.changed &&
    a.digest === b.digest
  );
}
