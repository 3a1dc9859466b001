import { readdirSync, readFileSync } from "node:fs";

/** Memory of a process and its children, in bytes. */
export interface Memory {
  readonly resident: number;
  /** The part that the kernel cannot reclaim. */
  readonly anonymous: number;
}

/** Clock ticks per second in /proc. */
const TICKS = 100;

/**
 * Returns the memory of a process and its children; 0 if it has ended. A child with its parent's name does not count:
 * until it runs exec it shares its parent's memory.
 */
export function memoryOf(pid: number): Memory {
  const total = { resident: 0, anonymous: 0 };
  for (const each of treeOf(pid)) {
    const status = read(`/proc/${each}/status`);
    if (nameIn(status) === nameIn(read(`/proc/${/^PPid:\s+(\d+)$/m.exec(status)?.[1]}/status`))) continue;
    total.resident += kilobytes(status, "VmRSS");
    total.anonymous += kilobytes(status, "RssAnon");
  }
  return total;
}

/** CPU seconds in user mode and in the kernel. */
export interface Cpu {
  readonly user: number;
  readonly system: number;
}

/** Returns the CPU of a process and its children, including children that have ended. */
export function cpuOf(pid: number): Cpu {
  const cpu = { user: 0, system: 0 };
  for (const each of treeOf(pid)) {
    const [, after = ""] = read(`/proc/${each}/stat`).split(") ");
    const [user = 0, system = 0, childrensUser = 0, childrensSystem = 0] = after
      .split(" ")
      .slice(11, 15)
      .map(Number);
    cpu.user += (user + childrensUser) / TICKS;
    cpu.system += (system + childrensSystem) / TICKS;
  }
  return cpu;
}

/**
 * Returns the CPU seconds of a process and its children. Running processes count to the nanosecond, ended children to
 * the hundredth of a second.
 */
export function runtimeOf(pid: number): number {
  let seconds = 0;
  for (const each of treeOf(pid)) {
    for (const thread of list(`/proc/${each}/task`)) {
      seconds += Number(read(`/proc/${each}/task/${thread}/schedstat`).split(" ")[0]) / 1e9;
    }
    const [, after = ""] = read(`/proc/${each}/stat`).split(") ");
    const [user = 0, system = 0] = after.split(" ").slice(13, 15).map(Number);
    seconds += (user + system) / TICKS;
  }
  return seconds;
}

/**
 * Waits until a process and its children use less CPU than `seconds` in this many milliseconds. Returns their CPU seconds
 * so far.
 */
export async function untilQuiet(pid: number, milliseconds: number, seconds: number): Promise<number> {
  for (let before = runtimeOf(pid); ; ) {
    await Bun.sleep(milliseconds);
    const now = runtimeOf(pid);
    if (now - before < seconds) return now;
    before = now;
  }
}

function treeOf(pid: number): number[] {
  const threads = list(`/proc/${pid}/task`);
  const children = threads.flatMap(thread =>
    read(`/proc/${pid}/task/${thread}/children`).split(" ").filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(treeOf)];
}

function nameIn(status: string): string | undefined {
  return /^Name:\s+(.*)$/m.exec(status)?.[1];
}

function kilobytes(status: string, name: string): number {
  return 1024 * Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0);
}

/** A process may end before its files are read. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
