/** The lines that a program prints. They are read as they arrive, so the program never waits for a reader. */
export class Lines {
  readonly #lines: string[] = [];
  #more = Promise.withResolvers<void>();
  #ended = false;

  constructor(output: ReadableStream<Uint8Array>) {
    void this.#read(output);
  }

  /**
   * Waits for a line that contains or matches `pattern`. Returns it after all lines that were not returned yet.
   *
   * @throws Error if the output ends first
   */
  async until(pattern: string | RegExp): Promise<string[]> {
    const fits = (line: string) =>
      typeof pattern === "string" ? line.includes(pattern) : pattern.test(line);
    for (;;) {
      const found = this.#lines.findIndex(fits);
      if (found >= 0) return this.#lines.splice(0, found + 1);
      if (this.#ended) throw new Error(`the output ended without "${pattern}":\n${this.#lines.join("\n")}`);
      await this.#more.promise;
    }
  }

  /** Waits for the end, and returns all lines that were not returned yet. */
  async all(): Promise<string[]> {
    while (!this.#ended) await this.#more.promise;
    return this.#lines.splice(0);
  }

  async #read(output: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of output) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      this.#lines.push(...lines);
      this.#wake();
    }
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#more.resolve();
    this.#more = Promise.withResolvers<void>();
  }
}
