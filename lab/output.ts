import { ProgramError, run } from "../src/system/program.ts";

/**
 * Runs a program that must succeed, and returns its standard output.
 *
 * @param input its standard input; empty by default
 * @throws ProgramError if it does not start, or does not exit with 0
 */
export async function output(argv: readonly string[], input?: string): Promise<string> {
  const { exitCode, stdout, stderr } = await run(argv, { input });
  if (exitCode === 0) return stdout;
  const what = stderr.trim() || `exit status ${exitCode}`;
  throw new ProgramError("refused", argv.join(" "), what, "", exitCode);
}

/** Returns the number that `PROGRAM --version` prints, as in `1.0.6`. */
export async function versionOf(program: string): Promise<string> {
  return /v(\d+(?:\.\d+)+)/.exec(await output([program, "--version"]))?.[1] ?? "unknown";
}
