import { closeSync } from "node:fs";
import { openPipe } from "./pipe.ts";
import { killAtExit } from "./process-group.ts";

/** A running program that prints until it is killed. */
export interface Printing {
  readonly program: {
    readonly pid: number;
    /** Kills it together with its child processes. */
    kill(): void;
  };
  readonly output: ReadableStream<Uint8Array>;
  /** Whether the program can print much before it is read. */
  readonly isBuffered: boolean;
  /** Call it when the output has ended, or will not be read. */
  close(): void;
}

/**
 * Starts a program, which ends together with this process, and reads its standard output. Throws Error.
 *
 * @param printsMuch whether to connect it by a pipe if possible; see {@link openPipe}
 */
export async function startPrinting(argv: string[], printsMuch: boolean): Promise<Printing> {
  const options = { stdin: "ignore", stderr: "ignore", detached: true } as const;
  const pipe = printsMuch ? await openPipe() : undefined;
  if (!pipe) {
    const program = Bun.spawn(argv, { ...options, stdout: "pipe" });
    return { program: killable(program), output: program.stdout, isBuffered: false, close: () => {} };
  }
  const close = () => closeSync(pipe.read);
  try {
    const program = Bun.spawn(argv, { ...options, stdout: pipe.write });
    return { program: killable(program), output: Bun.file(pipe.read).stream(), isBuffered: true, close };
  } catch (error) {
    close();
    throw error;
  } finally {
    closeSync(pipe.write);
  }
}

function killable(program: Pick<Bun.Subprocess, "pid" | "exited">): Printing["program"] {
  return { pid: program.pid, kill: killAtExit(program) };
}
