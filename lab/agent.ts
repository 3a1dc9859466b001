import { join } from "node:path";
import { Lines } from "./lines.ts";
import type { Namespace } from "./namespace.ts";

/** The folder that `npm run build` writes to. */
export const DIST = join(import.meta.dir, "../dist");

/** The binary for this machine. */
export const BINARY = join(DIST, "ipmasq");

/** The built agent, running on a node, and its log. */
export class RunningAgent {
  readonly log: Lines;

  private constructor(readonly program: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    this.log = new Lines(program.stderr);
  }

  /**
   * Starts the agent, without HTTP unless the flags ask for it. Its rules may not be in the kernel yet.
   *
   * @param command runs another binary, or runs it in another environment
   */
  static start(
    node: Namespace,
    flags: readonly string[],
    command: readonly string[] = [BINARY],
  ): RunningAgent {
    return new RunningAgent(node.spawn([...command, "--listen=", ...flags], { stderr: "pipe" }));
  }

  /** Starts the agent on a node without its rules, and returns when they are in the kernel. */
  static async started(node: Namespace, flags: readonly string[]): Promise<RunningAgent> {
    const agent = RunningAgent.start(node, flags);
    await agent.log.until("rules applied");
    return agent;
  }

  /** Sends a signal and returns the exit code. */
  end(signal: "SIGTERM" | "SIGINT" | "SIGKILL" = "SIGTERM"): Promise<number> {
    this.program.kill(signal);
    return this.program.exited;
  }
}
