import { codeOf, messageOf, withRemedy } from "./errors.ts";
import { killAtExit } from "./process-group.ts";

/** The result of a program that ran to its end. */
export interface ProgramResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Why a program failed. Callers branch on this kind, not on error texts.
 *
 * - `not-permitted`: a capability is missing
 * - `not-found`: the program is not installed
 * - `unsupported`: the kernel or this version of the program lacks the feature
 * - `crashed`: the program ended by a signal such as SIGSEGV
 * - `timed-out`: the program missed its deadline and was killed
 * - `refused`: the program or the kernel rejected the input
 * - `busy`: another process holds a lock or uses the object
 * - `incompatible`: the program cannot read rules that another program wrote
 * - `too-large`: a message to the kernel, or the program's output, was too long
 * - `exhausted`: the system is out of file descriptors, processes or memory
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
    /** The command line as typed in a shell; empty if the error is not about a command. */
    readonly command: string,
    /** The program's own message, or a short description. For people only. */
    readonly what: string,
    /** An action for the user; may be empty. For people only. */
    readonly remedy: string,
    /** Undefined if the program did not start or was killed. */
    readonly exitCode?: number,
  ) {
    super(`${command === "" ? "" : `${command}: `}${withRemedy({ what, remedy })}`);
  }
}

/** The kind of a {@link ProgramError}; undefined for other errors. */
export function failureKind(error: unknown): FailureKind | undefined {
  return error instanceof ProgramError ? error.kind : undefined;
}

/** Whether a program or the kernel refused what it was asked to do. */
export function isRefusal(kind: FailureKind | undefined): boolean {
  return kind === "unsupported" || kind === "refused";
}

/** Limits for a program. A program that exceeds a limit is killed together with its child processes. */
export interface RunLimits {
  /** In milliseconds. */
  readonly deadline?: number | undefined;
  /** The maximum length of its output, in bytes. */
  readonly mostOutput?: number | undefined;
}

export interface RunOptions extends RunLimits {
  /** The program's standard input. */
  readonly input?: string | Blob | undefined;
  /**
   * Receives standard output piece by piece. The result then has no standard output. If it throws, the program is killed,
   * and `run` throws the same error.
   */
  readonly receive?: ((piece: Uint8Array) => void) | undefined;
}

/** The default deadline, in milliseconds. */
const DEADLINE_MS = 60_000;

/**
 * A deadline for nft and iptables, in milliseconds. Measured: nft loads or lists 100,000 elements (10 MB of text) in 2
 * s on an idle core.
 *
 * @param size the length of the program's input or output, in bytes
 */
export function deadlineFor(size = 0): number {
  return 15_000 + size / 200;
}

/** Milliseconds that a child process may keep the pipes open after the program ended. */
const PIPE_MS = 1000;

const MIB = 1024 * 1024;
/** The default limit of the output, in bytes. A table of 264,000 elements is 40 MB of JSON. */
const MOST_OUTPUT = 256 * MIB;

/**
 * Runs a program to its end, without a shell, in the C locale and in its own process group.
 *
 * @param argv the program, which is searched in PATH, and its arguments
 * @throws ProgramError if the program cannot start, crashes or exceeds a limit; an exit code is not an error
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
  const { input, deadline = DEADLINE_MS, mostOutput = MOST_OUTPUT } = options;
  const command = argv.join(" ");
  const child = start(argv, command, input);
  const killChild = killAtExit(child);
  let pipeTimer: Timer | undefined;
  const receive =
    options.receive &&
    ((piece: Uint8Array) => {
      options.receive?.(piece);
      pipeTimer?.refresh();
    });
  const output = new Output(child.stdout, child.stderr, mostOutput, receive);
  let killed: FailureKind | undefined;
  const kill = (why: FailureKind) => {
    killed ??= why;
    killChild();
    output.giveUp();
  };
  const timer = setTimeout(() => kill("timed-out"), deadline);
  void output.tooMuch.then(() => kill("too-large"));
  // `receive` threw an error, which `await output.closed` throws again.
  output.closed.catch(() => {
    killChild();
    output.giveUp();
  });
  // A process in uninterruptible sleep cannot be killed, so do not wait for it.
  const exitCode = await Promise.race([child.exited, output.abandoned]);
  pipeTimer = setTimeout(() => {
    killChild();
    output.giveUp();
  }, PIPE_MS);
  try {
    await output.closed;
  } finally {
    clearTimeout(pipeTimer);
    clearTimeout(timer);
  }
  const failed = (kind: FailureKind, what: string, remedy = "") =>
    new ProgramError(kind, command, what, remedy, killed ? undefined : exitCode);
  if (killed === "timed-out")
    throw failed(killed, `did not end within ${Math.round(deadline / 100) / 10} s and was killed`);
  if (killed === "too-large")
    throw failed(killed, `printed more than ${mostOutput / MIB} MiB and was killed`);
  if (isCrash(child.signalCode, exitCode))
    throw failed("crashed", `crashed (${child.signalCode ?? `exit code ${exitCode}`})`);
  if (child.signalCode) {
    const remedy = "another process or the kernel killed it; check whether memory is short";
    throw failed("exhausted", `was killed by ${child.signalCode}`, remedy);
  }
  return { exitCode, ...output.texts() };
}

type Child = Bun.Subprocess<Blob | "ignore", "pipe", "pipe">;

function start(argv: readonly string[], command: string, input: RunOptions["input"]): Child {
  try {
    return Bun.spawn([...argv], {
      stdin: input === undefined ? "ignore" : typeof input === "string" ? new Blob([input]) : input,
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, LC_ALL: "C" },
      detached: true,
    });
  } catch (error) {
    const code = codeOf(error);
    const failed = (kind: FailureKind, what: string, remedy: string, at = command) =>
      new ProgramError(kind, at, what, remedy);
    if (code === "ENOENT")
      throw failed("not-found", "is not installed", `install ${argv[0]} or add it to PATH`, argv[0]);
    if (code === "EACCES" || code === "EPERM")
      throw failed("not-permitted", messageOf(error), `check that it is executable: ${argv[0]}`);
    throw failed("exhausted", messageOf(error), "check the limits of open files and processes");
  }
}

const CRASHES = ["SIGILL", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV"];
/** The exit codes of a shell whose child crashed: 128 plus the number of the signal. */
const CRASH_CODES = [132, 134, 135, 136, 139];

function isCrash(signal: Bun.Subprocess["signalCode"], exitCode: number): boolean {
  return signal === null ? CRASH_CODES.includes(exitCode) : CRASHES.includes(`${signal}`);
}

/** Reads both streams of a program until they close, or until `giveUp`. */
class Output {
  /** Settles when both streams are closed or abandoned. */
  readonly closed: Promise<unknown>;
  /** Settles if the output exceeds its limit. */
  readonly tooMuch: Promise<void>;
  /** Settles with -1, PIPE_MS after `giveUp`. */
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
    receive: (piece: Uint8Array) => void = piece => this.#stdout.push(piece),
  ) {
    this.tooMuch = this.#tooMuch.promise;
    this.abandoned = this.#abandoned.promise;
    this.closed = Promise.all([
      this.#collect(stdout, receive),
      this.#collect(stderr, piece => this.#stderr.push(piece)),
    ]);
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

  async #collect(stream: ReadableStream<Uint8Array>, receive: (piece: Uint8Array) => void): Promise<void> {
    const reader = stream.getReader();
    this.#readers.push(reader);
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true, value: undefined }));
      if (done || value === undefined) return;
      this.#bytes += value.length;
      if (this.#bytes > this.most) this.#tooMuch.resolve();
      else receive(value);
    }
  }
}
