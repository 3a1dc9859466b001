import { type Look, lookAtSources } from "../config/sources.ts";
import { Completeness, type FileEvent, type WriteState } from "./completeness.ts";
import { WriteStates } from "./writers.ts";

/** A config that is not complete yet. */
export interface Pending {
  /** The longest time until the next look, in milliseconds. */
  readonly wait: number;
  /** Real paths of the files whose writers matter. */
  readonly uncertain: readonly string[];
  /** A file that may be truncated because its file system was full. */
  readonly truncated: string | undefined;
  /** A text that changes with the files. */
  readonly version: string;
}

/** The result of a look: either the complete config, or why it is not complete. */
export interface Observed {
  readonly complete?: Look;
  readonly pending?: Pending;
  /** Whether a file could not be read. */
  readonly failed: boolean;
}

/** Looks at the files of a config, and at their writers if these matter, to find out whether the config is complete. */
export class ConfigObserver {
  readonly #completeness: Completeness;
  readonly #writeStates = new WriteStates();

  /** @param quiet milliseconds for which a file that is written in place must stay unchanged to count as complete */
  constructor(
    readonly path: string,
    readonly quiet: number,
  ) {
    this.#completeness = new Completeness(quiet);
  }

  /** Records an event of inotify, by the real path of the file. */
  event(real: string, kind: FileEvent): void {
    this.#completeness.event(real, kind);
  }

  /** Looks once. A file system that hangs delays it. */
  async observe(): Promise<Observed> {
    const observed = await this.#assess(NOT_READ);
    const { pending } = observed;
    if (!pending || pending.uncertain.length === 0 || this.#writeStates.wait > 0) return observed;
    return this.#assess(await this.#writeStates.read(pending.uncertain, pending.version));
  }

  /** Milliseconds until the next look, which searches for writers again if that may help. */
  nextLook({ wait, uncertain, version }: Pending): number {
    const states = this.#writeStates;
    const search = uncertain.length > 0 && (states.mayChange(version) || wait <= states.wait);
    return search ? Math.max(states.wait, 1) : wait;
  }

  async #assess(states: ReadonlyMap<string, WriteState>): Promise<Observed> {
    const events = this.#completeness.events;
    let look = await lookAtSources(this.path);
    for (let i = 0; i < MORE_LOOKS && !look.steady; i++) look = await lookAtSources(this.path);
    const failed = look.problems.some(({ severity }) => severity === "error");
    if (!look.steady) return { failed, pending: UNSTEADY };
    // Wall-clock time, unaffected by later changes of the clock. It matters only at start.
    const since = BigInt(Math.round(performance.timeOrigin + performance.now() - this.quiet)) * NS_PER_MS;
    const files = look.files.map(({ bytes: _, ...seen }) => ({ ...seen, recent: seen.changed > since }));
    const assessment = this.#completeness.assess({ ...look, files }, performance.now(), events, states);
    if (assessment.complete) return { failed, complete: look };
    const version = files.map(({ identity, changed }) => `${identity}:${changed}`).join(" ");
    return { failed, pending: { ...assessment, version } };
  }
}

/** Milliseconds until files that changed while they were read are read again. */
const UNSTEADY_MS = 25;
const UNSTEADY: Pending = { wait: UNSTEADY_MS, uncertain: [], truncated: undefined, version: "" };
const NS_PER_MS = 1_000_000n;
const NOT_READ: ReadonlyMap<string, WriteState> = new Map();
/** Extra looks when files changed while they were read. */
const MORE_LOOKS = 2;
