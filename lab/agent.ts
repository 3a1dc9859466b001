import { join } from "node:path";
import { Lines } from "./lines.ts";
import type { Namespace } from "./namespace.ts";

/** Where `npm run build` leaves what it makes. */
export const DIST = join(import.meta.dir, "../dist");

/** The binary for this machine. */
export const BINARY = join(DIST, "ipmasq");

/** The built agent at work on a node, and its log. */
export class RunningAgent {
  readonly log: Lines;

  private constructor(readonly program: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    this.log = new Lines(program.stderr);
  }

  /**
   * Starts it; its rules may not be in the kernel yet. It serves nothing unless the flags say so.
   *
   * @param command that of another binary, or of one in other surroundings
   */
  static start(
    node: Namespace,
    flags: readonly string[],
    command: readonly string[] = [BINARY],
  ): RunningAgent {
    return new RunningAgent(node.spawn([...command, "--listen=", ...flags], { stderr: "pipe" }));
  }

  /** Starts it where there are no rules of ours; returns when they are in the kernel. */
  static async started(node: Namespace, flags: readonly string[]): Promise<RunningAgent> {
    const agent = RunningAgent.start(node, flags);
    await agent.log.until("rules applied");
    return agent;
  }

  /** Sends a signal that is to end it, and returns its exit code when it has. */
  end(signal: "SIGTERM" | "SIGINT" | "SIGKILL" = "SIGTERM"): Promise<number> {
    this.program.kill(signal);
    return this.program.exited;
  }
}
