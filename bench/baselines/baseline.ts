import { basename } from "node:path";
import type { ProgramResult } from "../../src/system/program.ts";

/** Runs a program on the node that a baseline is at work on, to its end. */
export type Run = (argv: readonly string[], input?: string) => Promise<ProgramResult>;

/** A way to bring a list of non-masquerade CIDRs into the kernel of a node. */
export interface Baseline {
  readonly name: string;
  /** Whether it is ipmasq. */
  readonly ours: boolean;
  /** Whether the packets of a new connection walk through the list, entry by entry. */
  readonly linear: boolean;
  /** For how many seconds its programs go on after a sync. */
  readonly tail?: number;
  /** What a node has before it comes. */
  prepare?(run: Run): Promise<unknown>;
  /**
   * One sync, whatever the kernel holds.
   *
   * @param folder for its files, always the same for one node
   * @throws Error if it fails
   */
  sync(run: Run, cidrs: readonly string[], folder: string): Promise<unknown>;
}

/** @throws Error with what the program said, if it failed */
export async function mustRun(run: Run, argv: readonly string[], input?: string): Promise<void> {
  const { exitCode, stderr } = await run(argv, input);
  if (exitCode === 0) return;
  const [said = ""] = (/error="(.*)"$/m.exec(stderr)?.[1] ?? stderr.trim()).split("\n"); // ipmasq logs it so
  throw new Error(`${basename(argv[0] ?? "")}: ${said.slice(0, 160) || `exit status ${exitCode}`}`);
}
