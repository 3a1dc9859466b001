import { retryDelay } from "../system/timing.ts";
import { isOwnTable } from "./choose.ts";
import type { MigratingBackend } from "./migrating-backend.ts";
import type { Pauses } from "./moves.ts";

/** The backends that have not worked since they failed, and when the preferred one is tried again. */
export class Failing {
  readonly #failing = new Set<MigratingBackend>();
  /** The monotonic time of the next try of the preferred backend, and its consecutive failures. */
  #nextTry = 0;
  #tries = 0;

  constructor(readonly pauses: Pauses) {}

  /** A backend other than the preferred one failed. */
  add(backend: MigratingBackend): void {
    this.#failing.add(backend);
  }

  /** The preferred backend failed. It is tried again after the first pause. */
  addPreferred(backend: MigratingBackend): void {
    this.#failing.add(backend);
    this.#tries = 0;
    this.tried();
  }

  /** The preferred backend is tried. If that fails, the next try comes after a longer pause. */
  tried(): void {
    const { first, last } = this.pauses;
    this.#nextTry = performance.now() + retryDelay(++this.#tries, first, last);
  }

  works(backend: MigratingBackend): void {
    this.#failing.delete(backend);
  }

  /** Milliseconds until the preferred backend should be tried again. */
  get wait(): number {
    return Math.max(this.#nextTry - performance.now(), 0);
  }

  /** Whether the backend fails whose table may decide after other rules. */
  get hasOwnTable(): boolean {
    return this.#failing.values().some(it => isOwnTable(it.backend));
  }

  /** The backends in the order in which to try them: those that failed come last. */
  lastOf(all: readonly MigratingBackend[]): MigratingBackend[] {
    const rank = (it: MigratingBackend) => Number(this.#failing.has(it));
    return all.toSorted((a, b) => rank(a) - rank(b));
  }
}
