import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { open, statfs } from "node:fs/promises";
import { codeOf } from "../system/errors.ts";
import type { Writers, WriteState } from "./completeness.ts";

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
   * @param files the real paths of the files
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

/** Whether a file system may be too full for a program to finish its write. */
async function isFull(path: string): Promise<boolean> {
  const space = await statfs(path).catch(() => undefined);
  if (space === undefined || space.blocks === 0) return false;
  return space.bfree * space.bsize < Math.min(LITTLE_BYTES, (space.blocks * space.bsize) / LITTLE_PART);
}

const LITTLE_BYTES = 64 * 1024;
/** On a small file system, such as a tmpfs for a single config, the limit is this part of its size. */
const LITTLE_PART = 16;
const SEARCH_MS = 50;

/**
 * Finds out whether another process has a file open for writing, by comparing devices and inode numbers in
 * `/proc/PID/fdinfo` (since Linux 5.14). Reading there never waits for a file system. Returns `none` only if every
 * process on the node could be examined.
 *
 * @param path the path of the file, without symbolic links
 * @param all whether `/proc` shows every process of the node
 */
export async function writersOf(path: string, all = seesEveryProcess()): Promise<Writers> {
  const file = await identityOf(path).catch(() => undefined);
  return file === undefined ? "unknown" : new Search(file, all).run();
}

interface Identity {
  readonly inode: string;
  /** Major and minor number of the file system, as in `254:0`. */
  readonly device: string;
}

/** Reads device and inode from /proc, because `stat` may return other numbers on overlay file systems. */
async function identityOf(path: string): Promise<Identity | undefined> {
  const file = await open(path, "r");
  try {
    const about = readFileSync(`/proc/self/fdinfo/${file.fd}`, "latin1");
    const inode = INODE.exec(about)?.[1];
    const device = deviceOf("self", about);
    return inode === undefined || device === undefined ? undefined : { inode, device };
  } finally {
    await file.close();
  }
}

/** The file system of an open file; undefined for pipes and other files outside a mounted file system. */
function deviceOf(pid: string, about: string): string | undefined {
  const mount = MOUNT.exec(about)?.[1];
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, "latin1");
  return new RegExp(`^${mount} \\d+ (\\d+:\\d+) `, "m").exec(mounts)?.[1];
}

const MOUNT = /^mnt_id:\s*(\d+)/m;
const INODE = /^ino:\s*(\d+)/m;
const FLAGS = /^flags:\s*([0-7]+)/m;
/** O_WRONLY and O_RDWR. */
const WRITES = 0o3;

class Search {
  readonly #looked = new Set<string>();
  readonly #began = performance.now();
  #descriptors = 0;
  #sliceBegan = performance.now();
  /** Whether every process could be examined. */
  #all: boolean;

  constructor(
    readonly file: Identity,
    all: boolean,
  ) {
    this.#all = all;
  }

  /**
   * Repeats until there are no new processes, because a new process may have inherited the file from a process that
   * was already examined.
   */
  async run(): Promise<Writers> {
    for (let pids = this.#newProcesses(); pids.length > 0; pids = this.#newProcesses()) {
      for (const pid of pids) {
        if (this.#writes(pid)) return "open";
        if (this.#spent()) return "unknown";
        if (performance.now() - this.#sliceBegan > SLICE_MS) {
          await new Promise<void>(resolve => setImmediate(resolve));
          this.#sliceBegan = performance.now();
        }
      }
    }
    return this.#all ? "none" : "unknown";
  }

  #newProcesses(): string[] {
    const pids = readdirSync("/proc").filter(it => /^\d+$/.test(it) && !this.#looked.has(it));
    for (const pid of pids) this.#looked.add(pid);
    return pids.filter(pid => pid !== `${process.pid}`);
  }

  #writes(pid: string): boolean {
    try {
      return readdirSync(`/proc/${pid}/fdinfo`).some(descriptor => this.#isWriter(pid, descriptor));
    } catch (error) {
      this.#missed(error);
      return false;
    }
  }

  #isWriter(pid: string, descriptor: string): boolean {
    this.#descriptors++;
    try {
      const about = readFileSync(`/proc/${pid}/fdinfo/${descriptor}`, "latin1");
      if (INODE.exec(about)?.[1] !== this.file.inode) return false;
      if ((Number.parseInt(FLAGS.exec(about)?.[1] ?? "0", 8) & WRITES) === 0) return false;
      return deviceOf(pid, about) === this.file.device;
    } catch (error) {
      this.#missed(error);
      return false;
    }
  }

  /** Processes that ended and files that were closed do not matter. */
  #missed(error: unknown): void {
    const code = codeOf(error);
    if (code !== "ENOENT" && code !== "ESRCH") this.#all = false;
  }

  #spent(): boolean {
    return this.#descriptors > MOST_DESCRIPTORS || performance.now() - this.#began > MOST_MS;
  }
}

/**
 * Whether `/proc` shows all processes of the node: it does in the initial PID namespace, unless `hidepid` hides
 * process 1.
 */
function seesEveryProcess(): boolean {
  try {
    return (
      readlinkSync("/proc/self/ns/pid") === INITIAL_PID_NAMESPACE && readdirSync("/proc/1/fd").length >= 0
    );
  } catch {
    return false;
  }
}

/** PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h, 0xEFFFFFFC. */
const INITIAL_PID_NAMESPACE = "pid:[4026531836]";

/** Measured: 5 µs per descriptor. A busy node has about 20,000 descriptors. */
const MOST_DESCRIPTORS = 50_000;
const MOST_MS = 500;
/** Milliseconds after which the event loop gets a turn. */
const SLICE_MS = 4;
