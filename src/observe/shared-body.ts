import { collectingAfter } from "../system/garbage.ts";

/** The body of a response, in several parts. All clients that request it share these bytes. */
export interface Body {
  readonly parts: readonly Uint8Array[];
  /** Bytes. */
  readonly length: number;
}

/** A body that is rendered on demand, once for all simultaneous requests. */
export class SharedBody {
  #last: Promise<Body> | undefined;
  #next = 0;

  /**
   * @param render the text in pieces; the event loop gets turns between pieces
   * @param outdated receives a long body before the next one is rendered, so that memory never holds two of them
   */
  constructor(
    readonly render: () => Iterable<string> | Promise<Iterable<string>>,
    readonly outdated: (body: Body) => void,
  ) {}

  /**
   * The body. Usually the body is at most a second old. If rendering is slow, the body may be as old as ten times the
   * rendering time. If the body is long, it may be as old as the time to send it at 2 MiB/s. Throws the errors of
   * `render`.
   */
  get(): Promise<Body> {
    if (this.#last && performance.now() < this.#next) return this.#last;
    this.#next = Number.POSITIVE_INFINITY;
    this.#last = this.#rendered(this.#last);
    return this.#last;
  }

  async #rendered(last: Promise<Body> | undefined): Promise<Body> {
    const began = performance.now();
    let length = 0;
    try {
      const before = await last?.catch(() => undefined);
      if (before && before.length > LONG) this.outdated(before);
      const body = await bodyOf(await this.render());
      length = body.length;
      return body;
    } finally {
      const now = performance.now();
      this.#next = now + Math.max(SECOND, 9 * (now - began), length / BYTES_PER_MS);
    }
  }
}

const SECOND = 1000;
/** Bytes. Memory may hold several versions of shorter bodies. */
const LONG = 1024 * 1024;
const BYTES_PER_MS = (2 * 1024 * 1024) / 1000;

/** Characters in one part of a body. */
const PART = 64 * 1024;
/** Bytes between garbage collections: rendering leaves garbage of four times the body's length. */
const COLLECTED = 3 * 1024 * 1024;
/** Milliseconds between turns for the event loop while a body is rendered. */
const TURN_MS = 5;

/** Encodes text, and yields to the event loop every few milliseconds. */
async function bodyOf(pieces: Iterable<string>): Promise<Body> {
  const parts: Uint8Array[] = [];
  let length = 0;
  let text: string[] = [];
  let characters = 0;
  const collect = collectingAfter(COLLECTED);
  let began = performance.now();
  const flush = () => {
    const part = Buffer.from(text.join(""));
    parts.push(part);
    length += part.length;
    text = [];
    characters = 0;
    return part.length;
  };
  for (const piece of pieces) {
    text.push(piece);
    characters += piece.length;
    if (characters < PART) continue;
    collect(flush());
    if (performance.now() - began < TURN_MS) continue;
    await new Promise(resolve => setImmediate(resolve));
    began = performance.now();
  }
  flush();
  return { parts, length };
}
