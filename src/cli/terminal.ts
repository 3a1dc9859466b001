import type { Room } from "../inspect/columns.ts";
import { toStandardOutput } from "../system/output.ts";

/** Control sequences of xterm and ECMA-48: alternate screen, cursor, CUP, EL and ED. */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const END_LINE = "\x1b[K\r\n";
const END_SCREEN = "\x1b[K\x1b[J";

/** q, Ctrl-C, Ctrl-D and Ctrl-\\. */
const QUIT = ["q", "Q", "\x03", "\x04", "\x1c"];
/** Ctrl-Z. */
const SUSPEND = "\x1a";

/** The size of the terminal on standard output. */
export function terminalRoom(): Room {
  const { columns, rows } = process.stdout;
  return { width: columns || 80, height: rows || 24 };
}

/** The effects of keys. */
export interface Keys {
  readonly refresh: () => void;
  readonly quit: () => void;
}

/**
 * A full-screen view on the terminal's alternate screen, so that the lines before it come back when it ends. Reads keys
 * if standard input is a terminal: q and Ctrl-C quit, the space bar refreshes, Ctrl-Z suspends.
 */
export class FullScreen {
  readonly #keys: Keys;
  readonly #input = process.stdin.isTTY ? process.stdin : undefined;
  /** Also runs if an error ends the process. */
  readonly #atExit = () => this.#leave();

  constructor(keys: Keys) {
    this.#keys = keys;
    this.#input?.on("data", bytes => this.#typed(bytes.toString("latin1")));
    this.#input?.on("end", keys.quit);
    process.on("SIGWINCH", keys.refresh);
    process.on("SIGTSTP", () => this.#suspend());
    process.on("exit", this.#atExit);
    this.#enter();
  }

  /**
   * Replaces the screen by a headline and lines, which are cut to the window. Returns false if the terminal is gone.
   */
  draw(headline: string, lines: readonly string[]): boolean {
    const { width, height } = terminalRoom();
    const room = Math.max(height - 1, 1);
    const surplus = lines.length - room;
    const shown =
      surplus > 0
        ? [...lines.slice(0, room - 1), `and ${surplus + 1} more lines; enlarge the window`]
        : lines;
    const text = [headline, ...shown]
      .slice(0, height)
      .map(line => cutAnsi(line, width))
      .join(END_LINE);
    return toStandardOutput(`${HOME}${text}${END_SCREEN}`);
  }

  /** Restores the terminal. */
  close(): void {
    process.off("exit", this.#atExit);
    this.#leave();
    this.#input?.pause();
  }

  #enter(): void {
    this.#input?.setRawMode(true);
    toStandardOutput(ENTER);
  }

  #leave(): void {
    try {
      toStandardOutput(LEAVE);
      this.#input?.setRawMode(false);
    } catch {
      // The terminal is gone.
    }
  }

  #typed(keys: string): void {
    if (QUIT.some(key => keys.includes(key))) this.#keys.quit();
    else if (keys.includes(SUSPEND)) this.#suspend();
    else if (keys.includes(" ")) this.#keys.refresh();
  }

  /** Returns after `fg`. */
  #suspend(): void {
    this.#leave();
    process.kill(process.pid, "SIGSTOP");
    this.#enter();
    this.#keys.refresh();
  }
}

function cutAnsi(line: string, width: number): string {
  return Bun.stringWidth(line) > width ? `${Bun.sliceAnsi(line, 0, width - 1)}…` : line;
}
