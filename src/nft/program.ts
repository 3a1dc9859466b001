import { collectingAfter } from "../system/garbage.ts";
import {
  deadlineFor,
  ProgramError,
  type ProgramResult,
  type RunLimits,
  type RunOptions,
  run,
} from "../system/program.ts";
import { type Failed, failure, isMissing, withNftRemedy } from "./errors.ts";

/** The output of a run of nft. */
export interface Answer {
  readonly argv: readonly string[];
  readonly exitCode: number;
  readonly stdout: string;
}

/** Runs nft once per request, with a deadline that fits the amount of text. */
export class NftProgram {
  /** The longest text sent or printed so far, in bytes: the next listing may be as long. */
  #size = 0;

  /**
   * @param argv the command line that starts nft, such as `["nft"]`
   * @param limits the limits of each run that lists objects
   */
  constructor(
    readonly argv: readonly string[],
    readonly limits: RunLimits,
  ) {}

  /** Lists something. Undefined if the object does not exist. Throws ProgramError. */
  async list(options: readonly string[], input?: string): Promise<Answer | undefined> {
    const argv = [...this.argv, ...options];
    const deadline = deadlineFor(this.#size);
    const { exitCode, stdout, stderr } = await runNft(argv, { deadline, ...this.limits, input });
    this.#size = Math.max(this.#size, stdout.length);
    const failed = { argv, exitCode, stderr };
    if (isMissing(failed)) return undefined;
    if (exitCode !== 0 || stderr.replaceAll(UNPRINTABLE, "") !== "") throw failure(failed);
    return { argv, exitCode, stdout };
  }

  /**
   * Like {@link list}, but passes the output on piece by piece. Returns whether the object exists.
   *
   * @param receive must not throw
   */
  async stream(options: readonly string[], receive: (piece: Uint8Array) => void): Promise<boolean> {
    const argv = [...this.argv, ...options];
    let size = 0;
    const collect = collectingAfter(COLLECTED);
    const counted = (piece: Uint8Array) => {
      size += piece.length;
      receive(piece);
      collect(piece.length);
    };
    const deadline = deadlineFor(this.#size);
    const { exitCode, stderr } = await runNft(argv, { deadline, ...this.limits, receive: counted });
    this.#size = Math.max(this.#size, size);
    const failed = { argv, exitCode, stderr };
    if (isMissing(failed)) return false;
    if (exitCode !== 0 || stderr !== "") throw failure(failed);
    return true;
  }

  /**
   * Sends a document of commands. Returns how it failed; undefined if it did not. Throws ProgramError if nft cannot
   * run.
   *
   * nft up to 1.0.9 exits with 0 even if it cannot read its input, so any text on standard error is a failure.
   */
  async send(document: string, ...options: string[]): Promise<Failed | undefined> {
    return this.#send(document, document.length, [...options, "-j"]);
  }

  /**
   * Like {@link send}, and returns the document with the kernel's numbers of new rules. nft before 1.1 reads all sets of
   * the node for it.
   */
  async sendEchoed(document: string): Promise<Failed | string> {
    const { stdout, ...failed } = await this.#run(document, document.length, ["--echo", "-j"]);
    return isDone(failed) ? stdout : failed;
  }

  /** Like {@link send}, with a document in nft's syntax. */
  async sendText(document: Blob): Promise<Failed | undefined> {
    return this.#send(document, document.size, []);
  }

  async #send(input: string | Blob, size: number, options: readonly string[]): Promise<Failed | undefined> {
    const { stdout: _, ...failed } = await this.#run(input, size, options);
    return isDone(failed) ? undefined : failed;
  }

  async #run(
    input: string | Blob,
    size: number,
    options: readonly string[],
  ): Promise<Failed & { readonly stdout: string }> {
    const argv = [...this.argv, ...options, "-f", "-"];
    this.#size = Math.max(this.#size, size);
    return { argv, ...(await runNft(argv, { input, deadline: deadlineFor(size) })) };
  }
}

function isDone({ exitCode, stderr }: Failed): boolean {
  return exitCode === 0 && stderr === "";
}

async function runNft(argv: readonly string[], options: RunOptions): Promise<ProgramResult> {
  try {
    return await run(argv, options);
  } catch (error) {
    throw error instanceof ProgramError ? withNftRemedy(error) : error;
  }
}

/**
 * Garbage is collected after this many bytes of a stream. Otherwise 3.6 MB of text, 45,000 elements, leave 21 MB behind
 * while nft itself needs its memory.
 */
const COLLECTED = 1024 * 1024;

/** Printed for a foreign rule that has no form in JSON (`jump { … }`). The rule is then listed in nft's syntax. */
const UNPRINTABLE = /^warning: stmt ops \w+ have no json callback\n?/gm;
