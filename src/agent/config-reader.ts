import { statfs } from "node:fs/promises";
import { type Look, lookAtSources, READ_MS, type Sources } from "../config/sources.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { within } from "../system/timing.ts";
import { ConfigWatch } from "./config-watch.ts";
import { type FileEvent, Settling, type Surroundings } from "./settling.ts";
import { writersOf } from "./writers.ts";

/** Times in milliseconds. */
export interface ReaderTimes {
  /** How long a file that is written in place has to be quiet to count as complete. */
  readonly quiet: number;
  /** How long a look may take. */
  readonly deadline: number;
}

export const READER_TIMES: ReaderTimes = { quiet: 5000, deadline: READ_MS };

/** What a {@link ConfigReader} reports. None of these may throw. */
export interface ReaderEvents {
  /** There is something new to use. */
  changed(): void;
  /** Changes may be seen late from now on. */
  lost(why: string): void;
  /** A file has been written for long. */
  writing(): void;
  /** A file may be incomplete, since its file system was full. */
  cutOff(path: string): void;
  /** The file system did not answer within the deadline; or it did in the end. */
  hung(hangs: boolean): void;
}

/**
 * Reads a config as soon as it changes and is complete (see {@link Settling}). The file system may hang: at most one
 * look is under way at any time, so at most one thread waits for it.
 */
export class ConfigReader {
  readonly #settling: Settling;
  readonly #watch: ConfigWatch;
  #watching = false;
  #stopped = false;
  /** The last look at which everything was complete. */
  #complete: Look | undefined;
  #looking = false;
  #hangs = false;
  /**
   * Whether something could not be read. It is tried again, since inotify does not report a file system that recovers.
   */
  #failed = false;
  /** Whether something happened since the look that is under way began. */
  #again = false;
  /** Whether inotify reported something since the look before. */
  #reported = false;
  #next: { readonly at: number; readonly timer: Timer } | undefined;
  /** Since when a program seems to write, by a monotonic clock. */
  #pendingSince: number | undefined;
  #warned = false;
  #cutOff: string | undefined;
  /** What writers were last looked for, and whether one was seen. */
  #search = { for: "", open: false, ended: Number.NEGATIVE_INFINITY, took: 0 };
  readonly #waiting = new Set<() => void>();
  readonly #lost = new LastSaid();

  constructor(
    readonly path: string,
    readonly events: ReaderEvents,
    readonly times: ReaderTimes = READER_TIMES,
  ) {
    this.#settling = new Settling(times.quiet);
    this.#watch = new ConfigWatch(
      path,
      (real, kind) => this.#happened(real, kind),
      why => this.#tell(why),
    );
  }

  /** From now on it reports changes. */
  watch(): void {
    this.#watching = true;
    this.look();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
    this.#watch.stop();
    this.#answer();
  }

  /** What was complete last; undefined if nothing was yet. */
  get complete(): Sources | undefined {
    return this.#complete;
  }

  /** Has another look, in the background. */
  look(): void {
    this.#again = true;
    if (!this.#looking && !this.#stopped) void this.#run();
  }

  /**
   * Looks again and returns what is complete then; if the look takes longer than `patience` milliseconds or hangs, what
   * was complete before. If nothing was complete yet, it also waits that long for writers.
   */
  async latest(patience: number): Promise<Sources | undefined> {
    const end = performance.now() + patience;
    if (this.#complete || !this.#looking) this.look();
    while (!this.#hangs && !this.#stopped) {
      const left = end - performance.now();
      if (left <= 0) break;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await within(left, promise);
      this.#waiting.delete(resolve);
      if (this.#complete) break;
    }
    return this.#complete;
  }

  #happened(real: string, kind: FileEvent): void {
    this.#settling.event(real, kind);
    this.#reported = true;
    if (kind === "change" && this.#pendingSince !== undefined) this.#soon(GATHER_MS);
    else this.look();
  }

  async #run(): Promise<void> {
    this.#looking = true;
    this.#cancel();
    let wait: number | undefined;
    do {
      this.#again = false;
      wait = await this.#withinDeadline(() => this.#look());
    } while (this.#again && this.#pendingSince === undefined && !this.#stopped);
    this.#looking = false;
    this.#answer();
    if (this.#stopped) return;
    if (this.#again) this.#soon(GATHER_MS);
    if (wait !== undefined) this.#soon(wait);
    // Of equal events that come within a millisecond Bun reports the first one only.
    if (this.#reported) this.#soon(ECHO_MS);
    this.#reported = false;
    if (this.#watching && this.#failed) this.#soon(RETRY_MS);
    if (this.#watching && this.#watch.remote) this.#soon(POLL_MS);
  }

  async #withinDeadline<T>(work: () => Promise<T>): Promise<T | undefined> {
    const late = setTimeout(() => {
      if (this.#stopped) return;
      this.#hangs = true;
      this.events.hung(true);
      this.#answer();
    }, this.times.deadline);
    try {
      return await work();
    } catch (error) {
      this.#failed = true;
      this.#tell(messageOf(error));
    } finally {
      clearTimeout(late);
      if (this.#hangs) {
        // What a file system says at its end may be of before.
        this.#again = true;
        if (!this.#stopped) this.events.hung(false);
      }
      this.#hangs = false;
    }
    return undefined;
  }

  /** A look, a search for writers if they matter, and what to watch. Returns how long to wait until the next look. */
  async #look(): Promise<number | undefined> {
    this.#failed = false;
    let pending = await this.#judge(NOT_LOOKED_FOR);
    if (pending && pending.unclear.length > 0 && this.#untilSearch <= 0)
      pending = await this.#judge(await this.#lookAround(pending));
    this.#note(pending);
    if (this.#watching && (await this.#watch.follow())) this.#again = true;
    if (!pending) return undefined;
    // Searches again while a known writer may still write, and if the files are new.
    const search =
      pending.unclear.length > 0 &&
      (this.#search.open || this.#search.for !== pending.state || pending.wait <= this.#untilSearch);
    return search ? Math.max(this.#untilSearch, 1) : pending.wait;
  }

  /** Undefined if everything is complete. */
  async #judge(around: ReadonlyMap<string, Surroundings>): Promise<Pending | undefined> {
    const events = this.#settling.events;
    let look = await lookAtSources(this.path);
    for (let i = 0; i < MORE_LOOKS && !look.steady; i++) look = await lookAtSources(this.path);
    this.#failed = look.problems.some(({ severity }) => severity === "error");
    if (!look.steady) return { wait: GATHER_MS, unclear: [], state: "", cutOff: undefined };
    // Wall-clock time that ignores later changes of the clock. It matters only at start.
    const since =
      BigInt(Math.round(performance.timeOrigin + performance.now() - this.times.quiet)) * NS_PER_MS;
    const files = look.files.map(({ bytes: _, ...seen }) => ({ ...seen, recent: seen.changed > since }));
    const judgement = this.#settling.judge({ ...look, files }, performance.now(), events, around);
    const state = files.map(({ identity, changed }) => `${identity}:${changed}`).join(" ");
    if (!judgement.complete) return { ...judgement, state };
    const fresh = this.#complete?.digest !== look.digest;
    this.#complete = look;
    // Callers of `latest` get it as their result.
    if (fresh && this.#waiting.size === 0 && !this.#stopped) this.events.changed();
    this.#answer();
    return undefined;
  }

  #note(pending: Pending | undefined): void {
    if (!pending) {
      this.#pendingSince = undefined;
      this.#cutOff = undefined;
      this.#warned = false;
      return;
    }
    this.#answer();
    if (pending.cutOff !== undefined && pending.cutOff !== this.#cutOff) this.events.cutOff(pending.cutOff);
    this.#cutOff = pending.cutOff;
    const now = performance.now();
    // A file that was cut off has no writer any more.
    this.#pendingSince = pending.cutOff === undefined ? (this.#pendingSince ?? now) : now;
    if (this.#warned || now - this.#pendingSince < LONG * this.times.quiet) return;
    this.#warned = true;
    this.events.writing();
  }

  async #lookAround({ unclear, state }: Pending): Promise<ReadonlyMap<string, Surroundings>> {
    const began = performance.now();
    const around = new Map<string, Surroundings>();
    for (const real of unclear)
      around.set(real, { writers: await writersOf(real), full: await isFull(real) });
    const ended = performance.now();
    const open = [...around.values()].some(({ writers }) => writers === "open");
    this.#search = { for: state, open, ended, took: ended - began };
    return around;
  }

  /** Milliseconds until the next search: they take no more than a fifth of a processor. */
  get #untilSearch(): number {
    return this.#search.ended + Math.max(SEARCH_MS, 4 * this.#search.took) - performance.now();
  }

  #answer(): void {
    for (const resolve of this.#waiting) resolve();
  }

  #tell(why: string): void {
    if (this.#lost.isNews(why) && !this.#stopped) this.events.lost(why);
  }

  #soon(milliseconds: number): void {
    const at = performance.now() + milliseconds;
    if (this.#stopped || (this.#next && this.#next.at <= at)) return;
    this.#cancel();
    const timer = setTimeout(() => {
      this.#next = undefined;
      this.look();
    }, milliseconds);
    this.#next = { at, timer };
  }

  #cancel(): void {
    clearTimeout(this.#next?.timer);
    this.#next = undefined;
  }
}

interface Pending {
  readonly wait: number;
  readonly unclear: readonly string[];
  readonly cutOff: string | undefined;
  /** Equal as long as no file changed. */
  readonly state: string;
}

/** Whether a file system has no room for what a program may still have to write. */
async function isFull(path: string): Promise<boolean> {
  const room = await statfs(path).catch(() => undefined);
  if (room === undefined || room.blocks === 0) return false;
  return room.bfree * room.bsize < Math.min(LITTLE_BYTES, (room.blocks * room.bsize) / LITTLE_PART);
}

const LITTLE_BYTES = 64 * 1024;
/** A file system may be smaller than that, such as a tmpfs for a single config. */
const LITTLE_PART = 16;
const NS_PER_MS = 1_000_000n;
const NOT_LOOKED_FOR: ReadonlyMap<string, Surroundings> = new Map();
/** Looks again at once if the files changed while they were read. */
const MORE_LOOKS = 2;
/** Milliseconds in which the writes of one program are gathered. */
const GATHER_MS = 25;
const SEARCH_MS = 50;
/** Milliseconds after an event in which another one may have been left out. */
const ECHO_MS = 50;
/** Milliseconds between looks where inotify reports nothing. */
const POLL_MS = 5000;
/** Milliseconds until a path that could not be read is tried again. */
const RETRY_MS = 1000;
/** Times of being quiet until a file counts as being written for long. */
const LONG = 2;
