import type { FileLook, Look } from "../config/sources.ts";

/** An inotify event: a name appeared, disappeared or was replaced (`rename`), or its file was written (`change`). */
export type FileEvent = "rename" | "change";

/**
 * Whether a process has a file open for writing. `none`: every process on the node was examined; `unknown`: no writer
 * was found, but some processes could not be examined.
 */
export type Writers = "open" | "none" | "unknown";

/** Whether a file is being written, as found after the previous look. */
export interface WriteState {
  readonly writers: Writers;
  /** Whether its file system is full, so the end of the file may be missing. */
  readonly full: boolean;
}

/** Whether the files can be used; if not, how many milliseconds to wait at most before the next look. */
export type Assessment =
  | { readonly complete: true }
  | {
      readonly complete: false;
      readonly wait: number;
      /** Real paths of the files whose {@link WriteState} would help to decide. */
      readonly uncertain: readonly string[];
      /** A file that may be truncated. The file is complete only after another change. */
      readonly truncated: string | undefined;
    };

/** A file, without its bytes. */
export interface Seen extends Omit<FileLook, "bytes"> {
  /** Whether it changed within the last few seconds, by the clock of its file system. */
  readonly recent: boolean;
}

/** The parts of a look that are assessed. */
export type Observation = Pick<Look, "absent" | "problems"> & { readonly files: readonly Seen[] };

/** How a file got its current content. `start`: before the agent started. */
type Origin = "start" | "swapped" | "new" | "written";

interface File {
  /** The file's state when the files were last complete. */
  accepted?: Seen | undefined;
  /** The file's state at the last look, if it differs from the accepted state. */
  candidate?: { seen: Seen | undefined; since: number; origin: Origin; truncated: boolean } | undefined;
  /** Where the path pointed when the file was missing. */
  destination?: string | undefined;
  /** Whether a writer was seen since the file was last accepted. */
  writing: boolean;
}

/**
 * Decides whether the files of a config are complete or still being written. Pure: observations and times are arguments.
 *
 * - A symbolic link that now points to another file, or a file that was renamed to the path, is complete at once:
 *   programs finish writing such a file elsewhere.
 * - A file that is written in place is complete when its last writer has closed it, or when it has not changed for
 *   `quiet` milliseconds. The same applies to a removed file, because editors remove files that they write again.
 * - An empty file is complete only after `quiet` milliseconds.
 * - A file written in place on a full file system is incomplete until it changes again.
 *
 * If the origin of a file is uncertain, it counts as written in place.
 */
export class Completeness {
  readonly #files = new Map<string, File>();
  /** The last event since a file was accepted, and the event's number, by the file's real path. */
  readonly #events = new Map<string, { kind: FileEvent; number: number }>();
  #number = 0;
  #first = true;

  constructor(readonly quiet: number) {}

  /** Records an event, by the real path of the file. */
  event(real: string, kind: FileEvent): void {
    this.#events.set(real, { kind, number: ++this.#number });
  }

  /** Number of the last event. A look that begins now may miss the effect of later events. */
  get events(): number {
    return this.#number;
  }

  /**
   * Assesses a look.
   *
   * @param now the time in milliseconds of a monotonic clock
   * @param events the value of {@link events} when the look began
   * @param states the write states by the real path of the file
   */
  assess(
    look: Observation,
    now: number,
    events: number,
    states: ReadonlyMap<string, WriteState>,
  ): Assessment {
    const uncertain: string[] = [];
    const waits = look.files.map(seen => {
      const file = this.#file(seen.path);
      const wait = this.#wait(file, seen, now, states.get(seen.real));
      if (wait > 0 && !(file.candidate?.origin === "new" && this.#renamed(seen))) uncertain.push(seen.real);
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
      const truncated = [...this.#files].find(([, { candidate }]) => candidate?.truncated)?.[0];
      return { complete: false, wait, uncertain, truncated };
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

  #wait(file: File, seen: Seen, now: number, state: WriteState | undefined): number {
    if (file.accepted?.digest === seen.digest) {
      // The content is already in use. Later writes to this file count as writes in place.
      file.accepted = seen;
      file.candidate = undefined;
      return 0;
    }
    const before = file.candidate;
    // The write state was read before this look, so it is meaningless for a file that just changed.
    const known = before !== undefined && same(before.seen, seen);
    const candidate = known
      ? before
      : { seen, since: now, origin: this.#origin(file, seen), truncated: false };
    file.candidate = candidate;
    if (state?.writers === "open") file.writing = true;
    const age = now - candidate.since;
    const left = this.quiet - age;
    if (candidate.origin === "swapped") return 0;
    if (candidate.origin === "start") {
      if (left <= 0 || !seen.recent || (known && state && state.writers !== "open")) return 0;
      if (known && state) candidate.origin = "written";
      return left;
    }
    if (candidate.origin === "new" && this.#renamed(seen)) {
      return seen.renamedLater ? 0 : Math.max(Math.min(left, REPORT_MS - age), 0);
    }
    if (state?.full) candidate.truncated = true;
    if (candidate.truncated) return this.quiet;
    // The write state must be newer than the last write, even if that write failed.
    if (!known || !state) return Math.max(left, 1);
    const closed = state.writers === "none" || (state.writers === "unknown" && file.writing);
    return closed && !seen.empty ? 0 : Math.max(left, 0);
  }

  /** Whether the file has content and its last event is that its name appeared. */
  #renamed({ real, empty }: Seen): boolean {
    return !empty && this.#events.get(real)?.kind === "rename";
  }

  #origin({ candidate, accepted, destination }: File, seen: Seen): Origin {
    const before = candidate ? candidate.seen : accepted;
    if (before?.identity === seen.identity && before.real === seen.real) {
      const onlyAttributes = before.modified === seen.modified && before.digest === seen.digest;
      return candidate && onlyAttributes ? candidate.origin : "written";
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
      file.candidate = { seen: undefined, since: now, origin: "written", truncated: false };
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
 * Milliseconds within which inotify reports a write. If a file was written and renamed to the path within one tick of
 * the kernel's clock, only these reports distinguish it from a file created there.
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
