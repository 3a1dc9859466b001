import { codeOf, messageOf } from "./errors.ts";

/** What a program left behind when it ended. */
export interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Why a program failed. Callers branch on this kind instead of searching texts.
 *
 * - `not-permitted`: a capability is missing
 * - `not-found`: the program is not installed
 * - `unsupported`: the kernel, or this version of the program, cannot do it
 * - `crashed`: the program ended by a signal such as SIGSEGV
 * - `timed-out`: it was ended because it took longer than its deadline
 * - `refused`: program or kernel rejected the input
 * - `busy`: another process holds a lock or uses the object
 * - `incompatible`: it cannot read what another program wrote
 * - `too-large`: a message to the kernel, or the program's output, was longer than allowed
 * - `exhausted`: the system has no file descriptor, process or memory left for it
 */
export type FailureKind =
  | "not-permitted"
  | "not-found"
  | "unsupported"
  | "crashed"
  | "timed-out"
  | "refused"
  | "busy"
  | "incompatible"
  | "too-large"
  | "exhausted";

/** A program that could not be started, did not end, or reported a failure. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";

  constructor(
    readonly kind: FailureKind,
    /** The command line, as one would type it. */
    readonly command: string,
    /** What happened, in a few words: the program's own message where it gave one. For people only. */
    readonly what: string,
    /** What the user can do about it. For people only. */
    readonly remedy: string,
    /** Undefined if the program never ran or was stopped. */
    readonly exitCode?: number,
  ) {
    super(`${command}: ${what}${remedy === "" ? "" : `; ${remedy}`}`);
  }
}

/** The kind of failure behind an error; undefined if no program failed. */
export function failureKind(error: unknown): FailureKind | undefined {
  return error instanceof ProgramError ? error.kind : undefined;
}

/** What a program may take. */
export interface RunLimits {
  /** After so many milliseconds the program and all that it started are killed. */
  readonly deadline?: number | undefined;
  /** The most that the program may print, in bytes; otherwise it is killed. */
  readonly mostOutput?: number | undefined;
}

export interface RunOptions extends RunLimits {
  /** What the program reads on standard input; nothing if left out. */
  readonly input?: string | undefined;
}

/** In milliseconds, where the caller knows nothing better. */
const DEADLINE_MS = 60_000;

/**
 * A deadline for a tool of the kernel, in milliseconds. nft takes 2 s to load 100,000 elements, which are 10 MB of text, and
 * as long to list them, on a core of its own.
 *
 * @param size of what it reads or prints, in bytes
 */
export function deadlineFor(size = 0): number {
  return 15_000 + size / 200;
}

/** Milliseconds that a pipe may stay open after its program ended, because a child of the program still holds it. */
const PIPE_MS = 1000;

/** The most that a program may print, in bytes: a table of 264,000 elements is 40 MB of JSON. */
const MIB = 1024 * 1024;
const MOST_OUTPUT = 256 * MIB;

/**
 * Runs a program to its end, without a shell, in the C locale and in a process group of its own.
 *
 * @param argv the program, looked up in PATH, and its arguments
 * @throws ProgramError if the program cannot be started, crashes, misses its deadline or prints too much; not for its exit code
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { input, deadline = DEADLINE_MS, mostOutput = MOST_OUTPUT } = options;
  const command = argv.join(" ");
  const child = start(argv, command, input);
  const output = new Output(child.stdout, child.stderr, mostOutput);
  let killed: FailureKind | undefined;
  const kill = (why: FailureKind) => {
    killed ??= why;
    killGroup(child.pid);
    output.giveUp();
  };
  const timer = setTimeout(() => kill("timed-out"), deadline);
  void output.tooMuch.then(() => kill("too-large"));
  // A process that waits for a device cannot be killed, so this does not wait for it after giving up.
  const exitCode = await Promise.race([child.exited, output.abandoned]);
  const patience = setTimeout(() => {
    killGroup(child.pid);
    output.giveUp();
  }, PIPE_MS);
  await output.closed;
  clearTimeout(patience);
  clearTimeout(timer);
  if (killed === "timed-out")
    throw new ProgramError(
      killed,
      command,
      `did not end within ${Math.round(deadline / 100) / 10} s and was killed`,
      "",
    );
  if (killed === "too-large")
    throw new ProgramError(killed, command, `printed more than ${mostOutput / MIB} MiB and was killed`, "");
  const ended = { exitCode, ...output.texts() };
  if (isCrash(child.signalCode, exitCode)) {
    const what = `crashed (${child.signalCode ?? `exit code ${exitCode}`})`;
    throw new ProgramError("crashed", command, what, "", exitCode);
  }
  if (child.signalCode) {
    const remedy = "another process or the kernel killed it; memory may be short";
    throw new ProgramError("exhausted", command, `was killed by ${child.signalCode}`, remedy, exitCode);
  }
  return ended;
}

type Child = Bun.Subprocess<Blob | "ignore", "pipe", "pipe">;

function start(argv: readonly string[], command: string, input: string | undefined): Child {
  try {
    return Bun.spawn([...argv], {
      stdin: input === undefined ? "ignore" : new Blob([input]),
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, LC_ALL: "C" },
      detached: true,
    });
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") {
      throw new ProgramError("not-found", command, "is not installed", `is ${argv[0]} in PATH?`);
    }
    if (code === "EACCES" || code === "EPERM") {
      throw new ProgramError(
        "not-permitted",
        command,
        messageOf(error),
        `check that it is executable: ${argv[0]}`,
      );
    }
    throw new ProgramError("exhausted", command, messageOf(error), "see the limits of files and processes");
  }
}

/** Ends a program and everything that it started. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The group has ended.
  }
}

const CRASHES = ["SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV"];
/** 128 and the number of such a signal, as a shell in between reports it. */
const CRASH_CODES = [132, 134, 135, 136, 139];

function isCrash(signal: Bun.Subprocess["signalCode"], exitCode: number): boolean {
  return signal === null ? CRASH_CODES.includes(exitCode) : CRASHES.includes(`${signal}`);
}

/** Reads both streams of a program until they are closed, or until `giveUp`. */
class Output {
  /** Settles when both streams are closed or given up. */
  readonly closed: Promise<unknown>;
  /** Settles if the program printed more than it may. */
  readonly tooMuch: Promise<void>;
  /** Settles with -1 PIPE_MS after reading was given up. */
  readonly abandoned: Promise<number>;
  readonly #tooMuch = Promise.withResolvers<void>();
  readonly #abandoned = Promise.withResolvers<number>();
  readonly #readers: Pick<ReadableStreamDefaultReader, "cancel">[] = [];
  readonly #stdout: Uint8Array[] = [];
  readonly #stderr: Uint8Array[] = [];
  #bytes = 0;

  constructor(
    stdout: ReadableStream<Uint8Array>,
    stderr: ReadableStream<Uint8Array>,
    readonly most: number,
  ) {
    this.tooMuch = this.#tooMuch.promise;
    this.abandoned = this.#abandoned.promise;
    this.closed = Promise.all([this.#collect(stdout, this.#stdout), this.#collect(stderr, this.#stderr)]);
  }

  texts(): { stdout: string; stderr: string } {
    return {
      stdout: Buffer.concat(this.#stdout).toString(),
      stderr: Buffer.concat(this.#stderr).toString(),
    };
  }

  giveUp(): void {
    for (const reader of this.#readers) reader.cancel().catch(() => {});
    setTimeout(() => this.#abandoned.resolve(-1), PIPE_MS).unref();
  }

  async #collect(stream: ReadableStream<Uint8Array>, pieces: Uint8Array[]): Promise<void> {
    const reader = stream.getReader();
    this.#readers.push(reader);
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done || value === undefined) return;
      this.#bytes += value.length;
      if (this.#bytes > this.most) this.#tooMuch.resolve();
      else pieces.push(value);
    }
  }
}
