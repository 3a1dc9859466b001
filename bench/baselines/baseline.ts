import { basename } from "node:path";
import type { ProgramResult } from "../../src/system/program.ts";

/** Runs a program on the baseline's node, to its end. */
export type Run = (argv: readonly string[], input?: string) => Promise<ProgramResult>;

/** A way to bring a list of non-masquerade CIDRs into the kernel of a node. */
export interface Baseline {
  readonly name: string;
  /** Whether it is ipmasq. */
  readonly ours: boolean;
  /** Whether the first packet of a connection is compared with the entries one by one. */
  readonly linear: boolean;
  /** Its programs run for this many seconds after a sync. */
  readonly tail?: number;
  /** Prepares a node for it. */
  prepare?(run: Run): Promise<unknown>;
  /**
   * One sync, from any state of the kernel.
   *
   * @param folder the folder for its files, the same for each sync of a node
   * @throws Error if it fails
   */
  sync(run: Run, cidrs: readonly string[], folder: string): Promise<unknown>;
}

/** @throws Error with the program's message, if it fails */
export async function mustRun(run: Run, argv: readonly string[], input?: string): Promise<void> {
  const { exitCode, stderr } = await run(argv, input);
  if (exitCode === 0) return;
  const [said = ""] = (/error="(.*)"$/m.exec(stderr)?.[1] ?? stderr.trim()).split("\n"); // the format of ipmasq's log
  throw new Error(`${basename(argv[0] ?? "")}: ${said.slice(0, 160) || `exit status ${exitCode}`}`);
}
