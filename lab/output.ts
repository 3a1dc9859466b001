import { ProgramError, run } from "../src/system/program.ts";

/**
 * Runs a program that has to succeed and returns its standard output.
 *
 * @param input what it reads on standard input; nothing if left out
 * @throws ProgramError if it cannot be started or exits with anything but 0
 */
export async function output(argv: readonly string[], input?: string): Promise<string> {
  const { exitCode, stdout, stderr } = await run(argv, { input });
  if (exitCode === 0) return stdout;
  const what = stderr.trim() || `exit status ${exitCode}`;
  throw new ProgramError("refused", argv.join(" "), what, "", exitCode);
}

/** Returns the number in what `PROGRAM --version` prints, as in `1.0.6`. */
export async function versionOf(program: string): Promise<string> {
  return /v(\d+(?:\.\d+)+)/.exec(await output([program, "--version"]))?.[1] ?? "unknown";
}
