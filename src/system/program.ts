/** What a program left behind when it ended. */
export interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that could not be started, did not end, or said that it failed. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";

  constructor(
    /** The command line, as one would type it. */
    readonly command: string,
    /** What happened, in a few words: the program's own message where it gave one. */
    readonly what: string,
    /** What the user can do about it. */
    readonly hint: string,
    /** Undefined if the program never ran or was stopped. */
    readonly exitCode?: number,
  ) {
    super(`${command}: ${what}${hint === "" ? "" : `; ${hint}`}`);
  }
}

/** What a program may take at most: the longest legitimate answer, 100,000 CIDRs, takes nft 2 seconds. */
const LIMIT_MS = 60_000;

/**
 * Runs a program to its end, without a shell, in the C locale.
 *
 * @param argv the program, looked up in PATH, and its arguments
 * @param input what it reads on standard input; nothing if left out
 * @throws ProgramError if it cannot be started or runs for longer than a minute; not for its exit code
 */
export async function run(argv: readonly string[], input?: string): Promise<Ended> {
  const command = argv.join(" ");
  let child: Bun.Subprocess<Blob | "ignore", "pipe", "pipe">;
  try {
    child = Bun.spawn([...argv], {
      stdin: input === undefined ? "ignore" : new Blob([input]),
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, LC_ALL: "C" },
      timeout: LIMIT_MS,
      killSignal: "SIGKILL",
    });
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    throw new ProgramError(command, what, missing ? `is ${argv[0]} installed and in PATH?` : "");
  }
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  if (child.signalCode === "SIGKILL") {
    throw new ProgramError(command, "was killed", `it may have taken more than ${LIMIT_MS / 1000} s`);
  }
  return { exitCode, stdout, stderr };
}
