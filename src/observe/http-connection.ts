import type { Socket } from "bun";
import { type HttpRequest, MOST_HEAD_BYTES, parseRequest, type Refusal } from "./http-request.ts";
import { type HttpResponse, headOf } from "./http-response.ts";
import type { Body } from "./shared-body.ts";

/** Bytes of a response that fit the receive window of every client, so that no data stays in the kernel. */
const SMALL = 1024;
/** Bytes that are given to the kernel at once. */
const PIECE = 64 * 1024;
/** Bytes that are read after a request before reading stops. */
const MOST_IGNORED = 64 * 1024;

/** Progress of a response: all given to the kernel, stopped until there is room for more, or the connection is broken. */
type Progress = "complete" | "blocked" | "broken";

/** One connection: a request is read from it, then a response is written. */
export class HttpConnection {
  readonly opened = performance.now();
  /** Bytes of the response that the kernel's send buffer may hold; 0 before the first piece of a long response. */
  reserved = 0;
  /** When the kernel last took a piece of the response. */
  lastWrite = 0;
  /** Whether the client closed its side. */
  halfClosed = false;
  /** Whether the kernel has the whole response. */
  finished = false;
  /** The start of the request, as far as it was read. */
  #head = NOTHING;
  #requested = false;
  /** Bytes that were read after the request. */
  #ignored = 0;
  #body: Body | undefined;
  /** The response; the rest to write starts at `#offset` of part `#part`. */
  #parts: readonly Uint8Array[] = [];
  #part = 0;
  #offset = 0;
  #small = true;

  /**
   * @param client the group of addresses that limits count as one client
   * @param deadline the latest time to close the connection, by a monotonic clock
   */
  constructor(
    readonly socket: Socket<undefined>,
    readonly client: string,
    public deadline: number,
  ) {}

  /** Whether the request was read to its end. */
  get requested(): boolean {
    return this.#requested;
  }

  /** Whether the whole response fits the client's receive window. */
  get small(): boolean {
    return this.#small;
  }

  /** The length of the response's body in bytes. */
  get length(): number {
    return this.#body?.length ?? 0;
  }

  sends(body: Body): boolean {
    return this.#body === body;
  }

  /** Takes received data. Returns the request or why it is refused, once; undefined while it is incomplete. */
  read(data: Buffer): HttpRequest | Refusal | undefined {
    if (this.#requested) {
      this.#ignored += data.length;
      if (this.#ignored > MOST_IGNORED) this.socket.pause();
      return undefined;
    }
    const room = MOST_HEAD_BYTES + 4 - this.#head.length;
    const more = data.subarray(0, room);
    const head = this.#head === NOTHING ? more : Buffer.concat([this.#head, more]);
    const request = parseRequest(head);
    // A copy of an incomplete head, because the data may be part of a larger buffer.
    this.#head = request ? NOTHING : Buffer.concat([head]);
    if (!request) return undefined;
    this.#ignored = Math.max(data.length - room, 0);
    this.#requested = true;
    if ("why" in request) this.socket.pause(); // the start of the next request is unknown
    return request;
  }

  /** Starts a response; {@link write} sends it. */
  respond(response: HttpResponse, withoutBody: boolean): void {
    const head = headOf(response);
    const body = withoutBody ? { parts: [], length: 0 } : response.body;
    this.#body = body;
    this.#parts = [head, ...body.parts];
    this.#small = head.length + body.length <= SMALL;
  }

  /**
   * Writes as much of the response as the kernel accepts.
   *
   * @param hasRoom whether the kernel's send buffers may take more of a long response
   */
  write(hasRoom: () => boolean): Progress {
    for (;;) {
      const part = this.#parts[this.#part];
      if (!part) return this.#body ? "complete" : "blocked";
      if (!this.#small && !hasRoom()) return "blocked";
      const piece = part.subarray(this.#offset, this.#offset + PIECE);
      const written = this.socket.write(piece);
      if (written < 0) return "broken";
      this.lastWrite = performance.now();
      this.#offset += written;
      if (this.#offset === part.length) {
        this.#part++;
        this.#offset = 0;
      }
      if (written < piece.length) return "blocked";
    }
  }
}

const NOTHING = Buffer.alloc(0);
