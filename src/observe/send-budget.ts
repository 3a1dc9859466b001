import type { HttpConnection } from "./http-connection.ts";

/** The maximum number of bytes that the kernel holds for one connection: the default of net.ipv4.tcp_wmem. */
const MOST_BUFFERED = 4 * 1024 * 1024;

/** The operations on connections that the budget needs. */
interface Connections {
  /** A connection without progress since `time`; its bytes may be taken. */
  readonly stalledSince: (time: number) => HttpConnection | undefined;
  readonly close: (connection: HttpConnection) => void;
  /** Continues a response that waited for bytes. */
  readonly resume: (connection: HttpConnection) => void;
}

/** Shares the kernel's send buffers among connections with long responses. */
export class SendBudget {
  /** Bytes that the kernel may hold for all connections. */
  #reserved = 0;
  readonly #waiting = new Set<HttpConnection>();
  #retry: Timer | undefined;

  /**
   * @param bytes the budget for all connections
   * @param stallTimeout milliseconds after which a client that reads nothing may lose its bytes
   */
  constructor(
    readonly bytes: number,
    readonly stallTimeout: number,
    readonly connections: Connections,
  ) {}

  /**
   * Reserves the bytes that a connection needs, once; takes them from stalled connections if necessary. Returns false
   * if the connection has to wait; then it is resumed later.
   */
  reserve(connection: HttpConnection): boolean {
    if (connection.reserved > 0) return true;
    const needed = Math.min(connection.length, MOST_BUFFERED);
    while (this.#reserved > 0 && this.#reserved + needed > this.bytes) {
      const stalled = this.connections.stalledSince(performance.now() - this.stallTimeout);
      if (!stalled) {
        this.#waiting.add(connection);
        this.#retry ??= setTimeout(() => this.#resume(), this.stallTimeout);
        return false;
      }
      this.connections.close(stalled);
    }
    connection.reserved = needed;
    this.#reserved += needed;
    return true;
  }

  /** Frees the bytes of a closed connection. */
  release(connection: HttpConnection): void {
    this.#waiting.delete(connection);
    if (connection.reserved === 0) return;
    this.#reserved -= connection.reserved;
    connection.reserved = 0;
    if (this.#waiting.size === 0) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#resume(), 0);
  }

  stop(): void {
    clearTimeout(this.#retry);
  }

  /**
   * Resumes waiting connections, newest first, because a connection that waits long is probably one of many slow
   * connections.
   */
  #resume(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    for (const connection of [...this.#waiting].reverse()) {
      this.#waiting.delete(connection);
      this.connections.resume(connection);
      if (this.#waiting.has(connection)) return;
    }
  }
}
