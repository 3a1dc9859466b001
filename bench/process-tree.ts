import { readdirSync, readFileSync } from "node:fs";

/** What a process and its children hold at this moment, in bytes. */
export interface Memory {
  readonly resident: number;
  /** Of it, what the kernel cannot take back. */
  readonly anonymous: number;
}

/** A second, as /proc counts. */
const TICKS = 100;

/**
 * Of a process and its children; 0 if it is gone. One that has its parent's name is not counted: on its way to become
 * another program it shares its parent's memory.
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

/** Seconds of CPU in programs and in the kernel. */
export interface Cpu {
  readonly user: number;
  readonly system: number;
}

/** What a process and its children have used, those that have ended among them. */
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
 * Seconds that a process and its children have run, to the nanosecond for those that live; what ended children have
 * used the kernel tells in hundredths of a second.
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

/** Processes come and go while they are looked at. */
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
