import { existsSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";

/** The memory of a cgroup's processes and of the kernel on their behalf, in bytes. */
export interface GroupMemory {
  /** Without file pages that the kernel can drop at once, as kubelet counts the working set. */
  readonly workingSet: number;
  /** The kernel's part, which has the rules. */
  readonly kernel: number;
}

/** The folders in which a cgroup of memory can be made: version 1, or version 2 where it is mounted alone. */
const ROOTS = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];

/** A cgroup with a limit of memory. Needs root. */
export class MemoryGroup {
  readonly #folder: string;
  readonly #isV1: boolean;

  private constructor(folder: string, isV1: boolean) {
    this.#folder = folder;
    this.#isV1 = isV1;
  }

  /**
   * @param limit the most memory in bytes; undefined without a limit
   * @throws Error if cgroups of memory cannot be made here
   */
  static create(name: string, limit?: number): MemoryGroup {
    const root = ROOTS.find(it => existsSync(`${it}/cgroup.procs`));
    if (root === undefined) throw new Error("there is no cgroup of memory");
    const isV1 = existsSync(`${root}/memory.limit_in_bytes`);
    if (!isV1) writeFileSync(`${root}/cgroup.subtree_control`, "+memory");
    // Process ids repeat, because each benchmark has its own.
    const folder = mkdtempSync(`${root}/ipmasq-bench-${name}-`);
    if (limit !== undefined)
      writeFileSync(`${folder}/${isV1 ? "memory.limit_in_bytes" : "memory.max"}`, `${limit}`);
    return new MemoryGroup(folder, isV1);
  }

  /** The command line that runs `argv` in the cgroup. */
  command(argv: readonly string[]): string[] {
    return ["sh", "-c", 'echo $$ >"$0"; exec "$@"', `${this.#folder}/cgroup.procs`, ...argv];
  }

  get memory(): GroupMemory {
    const stat = this.#read("memory.stat");
    const of = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(stat)?.[1] ?? 0);
    if (this.#isV1) {
      const usage = Number(this.#read("memory.usage_in_bytes"));
      const kernel = Number(this.#read("memory.kmem.usage_in_bytes"));
      return { workingSet: usage - of("total_inactive_file"), kernel };
    }
    return { workingSet: Number(this.#read("memory.current")) - of("inactive_file"), kernel: of("kernel") };
  }

  /** How many processes the kernel has killed because of the limit. */
  get kills(): number {
    const counts = this.#read(this.#isV1 ? "memory.oom_control" : "memory.events");
    return Number(/^oom_kill (\d+)$/m.exec(counts)?.[1] ?? 0);
  }

  /**
   * Removes the cgroup, whose processes have ended.
   * @throws Error if the kernel still counts a process after 5 s
   */
  async remove(): Promise<void> {
    for (let left = 50; ; left--) {
      try {
        rmdirSync(this.#folder);
        return;
      } catch (error) {
        if (left === 0) throw error;
        await Bun.sleep(100); // the kernel reaps an ended process only after a moment
      }
    }
  }

  #read(file: string): string {
    return readFileSync(`${this.#folder}/${file}`, "utf8");
  }
}
