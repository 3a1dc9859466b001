import { type Look, READ_MS, type Sources } from "../config/sources.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { EarliestTimer, within } from "../system/timing.ts";
import type { FileEvent } from "./completeness.ts";
import { ConfigObserver, type Pending } from "./config-observer.ts";
import { ConfigWatch } from "./config-watch.ts";

/** Times in milliseconds. */
export interface ReaderTimes {
  /** How long a file that is written in place must stay unchanged to count as complete. */
  readonly quiet: number;
  /** How long a look may take. */
  readonly deadline: number;
}

const READER_TIMES: ReaderTimes = { quiet: 5000, deadline: READ_MS };

/** Callbacks of a {@link ConfigReader}. They must not throw. */
export interface ConfigEvents {
  /** A new complete config is available. */
  changed(): void;
  /** Changes may be noticed late from now on. */
  lost(reason: string): void;
  /** Files are incomplete now, or complete again. */
  incomplete(isIncomplete: boolean): void;
  /** A file has been written for a long time. */
  writing(): void;
  /** A file may be incomplete because its file system was full. */
  truncated(path: string): void;
  /** The file system did not answer within this many milliseconds; undefined if it answers again. */
  hung(deadline: number | undefined): void;
}

/**
 * Reads a config as soon as it changes and is complete (see {@link ConfigObserver}). Because the file system may hang, only
 * one look runs at a time, so at most one thread waits.
 */
export class ConfigReader {
  readonly #observer: ConfigObserver;
  readonly #watch: ConfigWatch;
  #watching = false;
  #stopped = false;
  /** The last look that found everything complete. */
  #complete: Look | undefined;
  #looking = false;
  #hangs = false;
  /** Whether a file could not be read. inotify does not report that a file system recovers, so polling is needed. */
  #failed = false;
  /** Whether an event or a caller asked for another look since the current one began. */
  #again = false;
  /** Whether inotify reported something since the previous look. */
  #reported = false;
  readonly #next = new EarliestTimer(() => this.look());
  /** The probable time when a program began to write, by a monotonic clock. */
  #pendingSince: number | undefined;
  readonly #writing = new LastSaid();
  #truncated: string | undefined;
  readonly #waiting = new Set<() => void>();
  readonly #lost = new LastSaid();

  constructor(
    readonly path: string,
    readonly events: ConfigEvents,
    readonly times: ReaderTimes = READER_TIMES,
  ) {
    this.#observer = new ConfigObserver(path, times.quiet);
    this.#watch = new ConfigWatch(
      path,
      (real, kind) => this.#happened(real, kind),
      reason => this.#reportLost(reason),
    );
  }

  /** Starts to report changes. */
  watch(): void {
    this.#watching = true;
    this.look();
  }

  stop(): void {
    this.#stopped = true;
    this.#next.cancel();
    this.#watch.stop();
    this.#answer();
  }

  /** The last complete config, without text after {@link release}; undefined before the first one. */
  get complete(): Sources | undefined {
    return this.#complete;
  }

  /** Forgets the text of a config that the caller has read, unless a newer config replaced it meanwhile. */
  release({ digest }: Pick<Sources, "digest">): void {
    const look = this.#complete;
    if (look?.digest !== digest) return;
    this.#complete = { ...look, files: look.files.map(file => ({ ...file, bytes: NO_BYTES })) };
  }

  /** Looks again in the background. */
  look(): void {
    this.#again = true;
    if (!this.#looking && !this.#stopped) void this.#run();
  }

  /**
   * Looks again and returns the complete config. If the look hangs or takes longer than `timeout` milliseconds,
   * returns the previous config. Before the first complete config, it also waits that long for writers.
   */
  async latest(timeout: number): Promise<Sources | undefined> {
    const end = performance.now() + timeout;
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
    this.#observer.event(real, kind);
    this.#reported = true;
    if (kind === "change" && this.#pendingSince !== undefined) this.#soon(GATHER_MS);
    else this.look();
  }

  async #run(): Promise<void> {
    this.#looking = true;
    this.#next.cancel();
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
    // Bun drops an event if an equal one came less than a millisecond earlier.
    if (this.#reported) this.#soon(ECHO_MS);
    this.#reported = false;
    if (this.#watching && this.#failed) this.#soon(RETRY_MS);
    if (this.#watching && this.#watch.remote) this.#soon(POLL_MS);
  }

  async #withinDeadline<T>(work: () => Promise<T>): Promise<T | undefined> {
    const late = setTimeout(() => {
      if (this.#stopped) return;
      this.#hangs = true;
      this.events.hung(this.times.deadline);
      this.#answer();
    }, this.times.deadline);
    try {
      return await work();
    } catch (error) {
      this.#failed = true;
      this.#reportLost(messageOf(error));
    } finally {
      clearTimeout(late);
      if (this.#hangs) {
        // The answer of a file system that hung may be outdated.
        this.#again = true;
        if (!this.#stopped) this.events.hung(undefined);
      }
      this.#hangs = false;
    }
    return undefined;
  }

  /** Looks once and updates the watch. Returns the milliseconds until the next look; undefined if no look is needed. */
  async #look(): Promise<number | undefined> {
    this.#failed = false;
    const { failed, complete, pending } = await this.#observer.observe();
    this.#failed = failed;
    if (complete) this.#use(complete);
    this.#note(pending);
    if (this.#watching && (await this.#watch.follow())) this.#again = true;
    return pending && this.#observer.nextLook(pending);
  }

  #use(look: Look): void {
    const isNew = this.#complete?.digest !== look.digest;
    if (isNew) this.#complete = look;
    // A caller of `latest` gets the config as its result.
    if (isNew && this.#waiting.size === 0 && !this.#stopped) this.events.changed();
    this.#answer();
  }

  #note(pending: Pending | undefined): void {
    if (!pending) {
      if (this.#pendingSince !== undefined) this.events.incomplete(false);
      this.#pendingSince = undefined;
      this.#truncated = undefined;
      this.#writing.isNews(undefined);
      return;
    }
    this.#answer();
    if (this.#pendingSince === undefined) this.events.incomplete(true);
    const { truncated } = pending;
    if (truncated !== undefined && truncated !== this.#truncated) this.events.truncated(truncated);
    this.#truncated = truncated;
    const now = performance.now();
    // The writer of a truncated file is gone.
    this.#pendingSince = truncated === undefined ? (this.#pendingSince ?? now) : now;
    const isLong = now - this.#pendingSince >= LONG * this.times.quiet;
    if (isLong && this.#writing.isNews("writing")) this.events.writing();
  }

  #answer(): void {
    for (const resolve of this.#waiting) resolve();
  }

  #reportLost(reason: string): void {
    if (this.#lost.isNews(reason) && !this.#stopped) this.events.lost(reason);
  }

  /** Schedules the next look, unless an earlier look is scheduled. */
  #soon(milliseconds: number): void {
    if (!this.#stopped) this.#next.schedule(milliseconds);
  }
}

const NO_BYTES = new Uint8Array();
/** Milliseconds to collect the writes of one program. */
const GATHER_MS = 25;
/** Milliseconds after an event within which Bun may have dropped another event. */
const ECHO_MS = 50;
/** Milliseconds between looks where inotify reports nothing. */
const POLL_MS = 5000;
/** Milliseconds until a path that could not be read is read again. */
const RETRY_MS = 1000;
/** The number of `quiet` periods after which a write counts as long. */
const LONG = 2;
