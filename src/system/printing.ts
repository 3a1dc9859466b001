import { closeSync } from "node:fs";
import { openPipe } from "./pipe.ts";

/** A running program that prints until it is killed. */
export interface Printing {
  readonly program: Pick<Bun.Subprocess, "pid" | "kill">;
  readonly output: ReadableStream<Uint8Array>;
  /** Whether the program can print much before it is read. */
  readonly isBuffered: boolean;
  /** Call it when the output has ended, or will not be read. */
  close(): void;
}

/**
 * Starts a program and reads its standard output. Throws Error.
 *
 * @param printsMuch whether to connect it by a pipe if possible; see {@link openPipe}
 */
export async function startPrinting(argv: string[], printsMuch: boolean): Promise<Printing> {
  const options = { stdin: "ignore", stderr: "ignore" } as const;
  const pipe = printsMuch ? await openPipe() : undefined;
  if (!pipe) {
    const program = Bun.spawn(argv, { ...options, stdout: "pipe" });
    return { program, output: program.stdout, isBuffered: false, close: () => {} };
  }
  const close = () => closeSync(pipe.read);
  try {
    const program = Bun.spawn(argv, { ...options, stdout: pipe.write });
    return { program, output: Bun.file(pipe.read).stream(), isBuffered: true, close };
  } catch (error) {
    close();
    throw error;
  } finally {
    closeSync(pipe.write);
  }
}
