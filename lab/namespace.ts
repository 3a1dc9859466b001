import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { ProgramError, type ProgramResult, run } from "../src/system/program.ts";
import { output } from "./output.ts";

/** Whether `lab/isolate` runs this process. */
export function isIsolated(): boolean {
  return existsSync("/run/ipmasq-lab");
}

/** A network namespace under /run/netns, and the programs that were started in it. */
export class Namespace {
  readonly #started = new Set<Bun.Subprocess>();

  constructor(readonly name: string) {}

  /** The command line that runs `argv` in the namespace. */
  command(argv: readonly string[]): string[] {
    return ["nsenter", `--net=/run/netns/${this.name}`, ...argv];
  }

  /** Runs a program to its end; see {@link run}. */
  run(argv: readonly string[], input?: string): Promise<ProgramResult> {
    return run(this.command(argv), { input }).catch(error => {
      // A test may expect a program to crash or to be killed.
      if (!(error instanceof ProgramError) || error.exitCode === undefined) throw error;
      return { exitCode: error.exitCode, stdout: "", stderr: error.what };
    });
  }

  /** Runs a program that must succeed, and returns its standard output; see {@link output}. */
  output(argv: readonly string[], options: { readonly input?: string } = {}): Promise<string> {
    return output(this.command(argv), options.input);
  }

  /** Starts a program like `Bun.spawn`; `clear` kills it. */
  spawn<
    const In extends Bun.SpawnOptions.Writable = "ignore",
    const Out extends Bun.SpawnOptions.Readable = "pipe",
    const Err extends Bun.SpawnOptions.Readable = "inherit",
  >(
    argv: readonly string[],
    options: Bun.SpawnOptions.SpawnOptions<In, Out, Err> = {},
  ): Bun.Subprocess<In, Out, Err> {
    const started = Bun.spawn(this.command(argv), options);
    this.#started.add(started);
    started.exited.then(() => this.#started.delete(started));
    return started;
  }

  /** Kills all processes in the namespace, and returns when they have ended. */
  async clear(): Promise<void> {
    const started = [...this.#started];
    for (const program of started) program.kill("SIGKILL");
    await Promise.all(started.map(program => program.exited));
    for (let pids = await this.#pids(); pids.length > 0; pids = await this.#pids()) {
      for (const pid of pids) kill(pid);
      await Bun.sleep(1);
    }
  }

  async #pids(): Promise<number[]> {
    if (!existsSync(`/run/netns/${this.name}`)) return [];
    const [own, listed] = await Promise.all([statusOf("self"), output(["ip", "netns", "pids", this.name])]);
    const statuses = await Promise.all(listed.split("\n").filter(Boolean).map(statusOf));
    return statuses.map(status => pidHere(status, own)).filter(pid => pid !== undefined);
  }
}

/**
 * Returns the PID to send a signal to, or undefined if the process has ended.
 *
 * `/proc` may belong to an outer PID namespace, and the process to an inner one: `NSpid` lists its PID in each. While
 * the kernel reaps a process it prints 0 there (measured on 6.18). A signal to PID 0 or -1 would kill the whole test
 * run, including processes outside of the namespaces.
 *
 * @param status the process's `/proc/PID/status`
 * @param own `/proc/self/status`
 */
export function pidHere(status: string, own: string): number | undefined {
  const pids = nsPids(status);
  const pid = Number(pids[nsPids(own).length - 1]);
  return pid > 1 ? pid : undefined;
}

function nsPids(status: string): string[] {
  return /^NSpid:\t(.+)$/m.exec(status)?.[1]?.split("\t") ?? [];
}

/** Empty if the process has ended. */
function statusOf(pid: string): Promise<string> {
  return readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
