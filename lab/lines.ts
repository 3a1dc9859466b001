/** The lines that a program prints. */
export class Lines {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #decoder = new TextDecoder();
  readonly #waiting: string[] = [];
  #rest = "";

  constructor(output: ReadableStream<Uint8Array>) {
    this.#chunks = output[Symbol.asyncIterator]();
  }

  /**
   * Waits for a line with `wanted` in it. Returns it and those before it that were not returned yet.
   *
   * @throws Error if the output ends before
   */
  async until(wanted: string): Promise<string[]> {
    for (let looked = 0; ; ) {
      const found = this.#waiting.findIndex((line, i) => i >= looked && line.includes(wanted));
      if (found >= 0) return this.#waiting.splice(0, found + 1);
      looked = this.#waiting.length;
      const { done, value } = await this.#chunks.next();
      if (done) throw new Error(`it ended without "${wanted}":\n${this.#waiting.join("\n")}`);
      const lines = (this.#rest + this.#decoder.decode(value, { stream: true })).split("\n");
      this.#rest = lines.pop() ?? "";
      this.#waiting.push(...lines);
    }
  }

  /** Reads to the end, and returns all lines that were not returned yet. */
  async all(): Promise<string[]> {
    await this.until("\n").catch(() => {}); // no line has that in it
    return this.#waiting.splice(0);
  }
}
