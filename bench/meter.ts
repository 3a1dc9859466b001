import type { Namespace } from "../lab/namespace.ts";
import type { ProgramResult } from "../src/system/program.ts";
import { memoryOf } from "./process-tree.ts";

/** The cost of programs that ran one after another. */
export interface Cost {
  /** From the start of the first to the end of the last, in seconds. */
  readonly wall: number;
  /** CPU seconds in user mode and in the kernel, children included. */
  readonly user: number;
  readonly system: number;
  /** The peak resident memory of a program and its children together, in bytes. */
  readonly peak: number;
}

/** Interval between memory samples. (wait4's maximum includes that of the parent, if it is larger.) */
const LOOK_MS = 2;

/** No program may take longer. */
const LIMIT_MS = 60_000;

/** Runs programs in a namespace and adds up their cost. */
export class Meter {
  #user = 0;
  #system = 0;
  #peak = 0;
  readonly #began = performance.now();

  readonly #place: Namespace;

  constructor(place: Namespace) {
    this.#place = place;
  }

  /** The cost so far. */
  get cost(): Cost {
    const wall = (performance.now() - this.#began) / 1000;
    return { wall, user: this.#user, system: this.#system, peak: this.#peak };
  }

  readonly run = async (argv: readonly string[], input?: string): Promise<ProgramResult> => {
    const program = this.#place.spawn(argv, {
      stdin: input === undefined ? "ignore" : new Blob([input]),
      stdout: "pipe",
      stderr: "pipe",
      timeout: LIMIT_MS,
      killSignal: "SIGKILL",
    });
    const look = () => {
      this.#peak = Math.max(this.#peak, memoryOf(program.pid).resident);
    };
    const looks = setInterval(look, LOOK_MS);
    const [stdout, stderr, exitCode] = await Promise.all([
      program.stdout.text(),
      program.stderr.text(),
      program.exited,
    ]);
    clearInterval(looks);
    this.#add(program);
    return { exitCode, stdout, stderr };
  };

  /** Adds the CPU of a program that has ended. */
  #add(program: Bun.Subprocess): void {
    const used = program.resourceUsage();
    if (used === undefined) throw new Error("the program has not ended");
    this.#user += Number(used.cpuTime.user) / 1e6;
    this.#system += Number(used.cpuTime.system) / 1e6;
  }
}
