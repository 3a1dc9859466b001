import { statfs } from "node:fs/promises";
import type { WriteState } from "./completeness.ts";
import { writersOf } from "./writers.ts";

/** Reads the {@link WriteState} of files, using at most a fifth of a processor. */
export class WriteStates {
  /** Version of the files at the last search. */
  #version = "";
  #writerFound = false;
  #ended = Number.NEGATIVE_INFINITY;
  #took = 0;

  /**
   * Reads the write state of each file.
   *
   * @param files real paths
   * @param version a text that changes with the files
   */
  async read(files: readonly string[], version: string): Promise<ReadonlyMap<string, WriteState>> {
    const began = performance.now();
    const states = new Map<string, WriteState>();
    for (const file of files) states.set(file, { writers: await writersOf(file), full: await isFull(file) });
    this.#ended = performance.now();
    this.#took = this.#ended - began;
    this.#version = version;
    this.#writerFound = [...states.values()].some(({ writers }) => writers === "open");
    return states;
  }

  /** Milliseconds until the next search is allowed; 0 or less: now. */
  get wait(): number {
    return this.#ended + Math.max(SEARCH_MS, 4 * this.#took) - performance.now();
  }

  /** Whether another search may find something new: the files changed, or a writer may have closed its file. */
  mayChange(version: string): boolean {
    return this.#writerFound || this.#version !== version;
  }
}

/** Whether a file system lacks the space for what a program may still have to write. */
async function isFull(path: string): Promise<boolean> {
  const space = await statfs(path).catch(() => undefined);
  if (space === undefined || space.blocks === 0) return false;
  return space.bfree * space.bsize < Math.min(LITTLE_BYTES, (space.blocks * space.bsize) / LITTLE_PART);
}

const LITTLE_BYTES = 64 * 1024;
/** For file systems smaller than `LITTLE_BYTES`, such as a tmpfs for a single config. */
const LITTLE_PART = 16;
const SEARCH_MS = 50;
