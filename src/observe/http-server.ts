import type { Socket, TCPSocketListener } from "bun";
import type { Watch } from "../backends/backend.ts";
import { formatListen, type Listen } from "../net/listen.ts";
import { codeOf } from "../system/errors.ts";
import { type HttpRequest, MOST_HEAD_BYTES, parseRequest } from "./http-request.ts";
import { openFilesLimit } from "./process-metrics.ts";
import type { Body } from "./shared-body.ts";

/** What a client gets. */
export interface Answer {
  readonly status: keyof typeof REASONS;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Body;
}

/** Limits for all clients together. Times are milliseconds. */
export interface Limits {
  /** The most connections. One more closes the oldest of the address with the most. */
  readonly connections: number;
  /** From the first byte, or from none, to the end of the request. */
  readonly request: number;
  /** From the end of the request until the client has read the answer and closed. */
  readonly answer: number;
  /** The most bytes of answers in the kernel's buffers, estimated. Small answers do not count. */
  readonly bytes: number;
  /** How long a client that reads nothing keeps its share of these bytes if another one needs it. */
  readonly patience: number;
}

/**
 * A sixteenth of the process's file descriptors: there may briefly be eight times as many connections, and half of the
 * descriptors are for the programs that write rules.
 */
function connectionsHere(): number {
  return Math.max(Math.min(256, Math.floor(openFilesLimit() / 16)), 4);
}

const LIMITS: Omit<Limits, "connections"> = {
  request: 5000,
  answer: 10_000,
  bytes: 8 * 1024 * 1024,
  patience: 250,
};

/** Milliseconds that each connection may stay, so that a request that is already sent is read. */
const FIRST_TURN_MS = 50;
/** Beyond this multiple of the limit, connections are closed at once. */
const MOST_TIMES = 8;
/** Bytes of an answer that fit the receive window of every client, so that no data stays in the kernel. */
const SMALL = 1024;
/** Bytes given to the kernel at once. */
const PIECE = 64 * 1024;
/** The kernel holds no more of one connection: net.ipv4.tcp_wmem's default. */
const MOST_BUFFERED = 4 * 1024 * 1024;
/** Bytes read after a request before reading stops. */
const MOST_IGNORED = 64 * 1024;
/** How long a client may take to close after a small answer, or after all of an answer once its own side has ended. */
const CLOSING_MS = 1000;
const SWEEP_MS = 250;
/** Connections between garbage collections: otherwise the engine lets 30 MB pile up. */
const MANY = 2000;

const REASONS = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

interface Connection {
  readonly socket: Socket<undefined>;
  /** The client's group for limits. */
  readonly group: string;
  readonly opened: number;
  /** When it is closed at the latest. */
  deadline: number;
  /** What was read of the request. */
  head: Buffer;
  /** Whether the request is read to its end. */
  asked: boolean;
  /** Bytes that were read after that. */
  ignored: number;
  answer: Answer | undefined;
  /** What is still to be written: from `offset` of part `part` on. */
  parts: readonly Uint8Array[];
  part: number;
  offset: number;
  small: boolean;
  /** The most bytes of the answer in the kernel's buffers; 0 before the first of a long answer. */
  reserved: number;
  lastWrite: number;
  /** Whether the client ended its side. */
  ended: boolean;
  /** Whether all of the answer was given to the kernel. */
  finished: boolean;
}

/**
 * HTTP/1.1 for probes and scrapers: one request for each connection, without a body, and one answer, which is shared
 * with all who ask for the same. Bun's own server limits neither connections nor the bytes that it holds for clients
 * that do not read; Node's takes 9 MB more of an idle agent (measured with Bun 1.4.5) and holds them too.
 *
 * At the limit, a new connection closes the oldest one of the address with the most connections. A probe takes less
 * than a millisecond, so it gets through.
 *
 * Connections are closed by a reset, except after small answers: after a normal close, the kernel would keep unsent
 * data for a minute or more if the client does not read.
 */
export class HttpServer implements Watch {
  readonly #connections = new Map<Socket<undefined>, Connection>();
  /** The same by address, the oldest first. */
  readonly #groups = new Map<string, Set<Connection>>();
  /** Connections that wait for their share of bytes. */
  readonly #waiting = new Set<Connection>();
  readonly #listener: TCPSocketListener<undefined>;
  /** Bytes that the kernel may hold for all. */
  #reserved = 0;
  /** Connections since garbage was last collected. */
  #opened = 0;
  /** The earliest time of the next collection, so that collections take at most a twentieth of the time. */
  #nextCollection = 0;
  #sweeps: Timer | undefined;
  #eviction: Timer | undefined;
  #retry: Timer | undefined;

  /**
   * Throws what listening throws.
   *
   * @param handle answers a request
   * @param failed receives internal errors
   */
  constructor(
    listen: Listen,
    readonly handle: (request: HttpRequest) => Answer | Promise<Answer>,
    readonly failed: (error: unknown) => void,
    readonly limits: Limits = { connections: connectionsHere(), ...LIMITS },
  ) {
    this.#listener = this.#listen(listen);
  }

  /** Where it listens, as users write it. */
  get address(): string {
    return formatListen({ address: this.#listener.hostname, port: this.#listener.port });
  }

  stop(): void {
    clearInterval(this.#sweeps);
    clearTimeout(this.#eviction);
    clearTimeout(this.#retry);
    this.#listener.stop(true);
  }

  /** Closes connections that have not finished sending a body, so that it can be freed. */
  drop(body: Body): void {
    for (const connection of [...this.#connections.values()])
      if (connection.answer?.body === body) this.#close(connection);
  }

  /** On all addresses: those of both families, or of IPv4 where the kernel has no IPv6. */
  #listen({ address, port }: Listen): TCPSocketListener<undefined> {
    if (address !== "") return this.#listenOn(address, port);
    try {
      return this.#listenOn("::", port);
    } catch (error) {
      if (codeOf(error) === "EADDRINUSE") throw error;
      return this.#listenOn("0.0.0.0", port);
    }
  }

  #listenOn(hostname: string, port: number): TCPSocketListener<undefined> {
    return Bun.listen<undefined>({
      hostname,
      port,
      exclusive: true,
      // Otherwise a client that ends its side would get no answer.
      allowHalfOpen: true,
      socket: {
        open: socket => this.#open(socket),
        data: (socket, data) => {
          this.#read(this.#connections.get(socket), data);
          free(data);
        },
        drain: socket => this.#write(this.#connections.get(socket)),
        end: socket => this.#end(this.#connections.get(socket)),
        close: socket => this.#forget(this.#connections.get(socket)),
        error: (socket, error) => {
          this.#close(this.#connections.get(socket));
          if (codeOf(error) === undefined) this.failed(error); // errors with a code come from the network
        },
      },
    });
  }

  #open(socket: Socket<undefined>): void {
    const size = this.#connections.size + 1;
    if (size > MOST_TIMES * this.limits.connections) this.#evict();
    else if (size > this.limits.connections)
      this.#eviction ??= setTimeout(() => this.#makeRoom(), FIRST_TURN_MS);
    const group = groupOf(socket.remoteAddress);
    const now = performance.now();
    const connection: Connection = {
      ...{ socket, group, opened: now, deadline: now + this.limits.request, head: NONE },
      ...{ asked: false, ignored: 0, answer: undefined, parts: NOTHING.parts, part: 0, offset: 0 },
      ...{ small: true, reserved: 0, lastWrite: 0, ended: false, finished: false },
    };
    this.#opened++;
    this.#connections.set(socket, connection);
    const others = this.#groups.get(group);
    if (others) others.add(connection);
    else this.#groups.set(group, new Set([connection]));
    this.#sweeps ??= setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** Makes room, after the event loop had a turn to read requests that are already sent. */
  #makeRoom(): void {
    this.#eviction = setTimeout(() => {
      this.#eviction = undefined;
      const surplus = () => this.#connections.size > this.limits.connections;
      const before = performance.now() - FIRST_TURN_MS;
      while (surplus() && this.#evict(before));
      if (surplus()) this.#eviction = setTimeout(() => this.#makeRoom(), FIRST_TURN_MS);
    }, 1);
  }

  /** Closes the oldest connection of the largest group, if it was opened before a time. */
  #evict(before = Number.POSITIVE_INFINITY): boolean {
    let most: ReadonlySet<Connection> | undefined;
    for (const group of this.#groups.values()) if (group.size > (most?.size ?? 0)) most = group;
    for (const oldest of most ?? []) {
      if (oldest.opened >= before) return false;
      this.#close(oldest);
      return true;
    }
    return false;
  }

  #read(connection: Connection | undefined, data: Buffer): void {
    if (!connection) return;
    if (connection.asked) {
      connection.ignored += data.length;
      if (connection.ignored > MOST_IGNORED) connection.socket.pause();
      return;
    }
    const room = MOST_HEAD_BYTES + 4 - connection.head.length;
    connection.ignored = Math.max(data.length - room, 0);
    const more = data.subarray(0, room);
    const head = connection.head === NONE ? more : Buffer.concat([connection.head, more]);
    const request = parseRequest(head);
    connection.head = NONE;
    if (!request) {
      connection.head = Buffer.concat([head]); // a copy, since the data may be part of a larger buffer
      return;
    }
    connection.asked = true;
    connection.deadline = performance.now() + this.limits.answer;
    if ("why" in request) {
      connection.socket.pause(); // the beginning of the next request is unknown
      this.#answer(connection, plain(request.status, request.why), false);
    } else void this.#handle(connection, request);
  }

  async #handle(connection: Connection, request: HttpRequest): Promise<void> {
    try {
      const answer = await this.handle(request);
      if (this.#connections.has(connection.socket))
        this.#answer(connection, answer, request.method === "HEAD");
    } catch (error) {
      this.#close(connection);
      this.failed(error);
    }
  }

  #answer(connection: Connection, answer: Answer, withoutBody: boolean): void {
    const head = headOf(answer);
    connection.answer = withoutBody ? { ...answer, body: NOTHING } : answer;
    connection.parts = withoutBody ? [head] : [head, ...answer.body.parts];
    connection.small = head.length + (withoutBody ? 0 : answer.body.length) <= SMALL;
    this.#write(connection);
  }

  /** Writes as much as the kernel accepts and the connection's share allows. */
  #write(connection: Connection | undefined): void {
    if (!connection) return;
    for (;;) {
      const part = connection.parts[connection.part];
      if (!part) break;
      const piece = part.subarray(connection.offset, connection.offset + PIECE);
      if (!connection.small && !this.#hasRoom(connection)) {
        this.#waiting.add(connection);
        this.#retry ??= setTimeout(() => this.#resume(), this.limits.patience);
        return;
      }
      const written = connection.socket.write(piece);
      if (written < 0) {
        this.#close(connection);
        return;
      }
      connection.lastWrite = performance.now();
      connection.offset += written;
      if (connection.offset === part.length) {
        connection.part++;
        connection.offset = 0;
      }
      if (written < piece.length) return;
    }
    if (connection.answer && !connection.finished) this.#finish(connection);
  }

  /**
   * Whether a connection has its share of the kernel's buffers. Takes it if needed, from connections that have read
   * nothing for a while.
   */
  #hasRoom(connection: Connection): boolean {
    if (connection.reserved > 0) return true;
    const wanted = Math.min(connection.answer?.body.length ?? 0, MOST_BUFFERED);
    while (this.#reserved > 0 && this.#reserved + wanted > this.limits.bytes) {
      const slow = this.#slowest();
      if (!slow) return false;
      this.#close(slow);
    }
    connection.reserved = wanted;
    this.#reserved += wanted;
    return true;
  }

  /** The oldest connection that has read nothing for a while, of the group with the most bytes in the kernel. */
  #slowest(): Connection | undefined {
    const latest = performance.now() - this.limits.patience;
    let most = 0;
    let slowest: Connection | undefined;
    for (const group of this.#groups.values()) {
      let bytes = 0;
      let oldest: Connection | undefined;
      for (const it of group) {
        bytes += it.reserved;
        if (it.reserved > 0 && it.lastWrite <= latest) oldest ??= it;
      }
      if (oldest && bytes > most) {
        most = bytes;
        slowest = oldest;
      }
    }
    return slowest;
  }

  /** Everything was given to the kernel. The client has read it when it closes. */
  #finish(connection: Connection): void {
    connection.finished = true;
    if (connection.small) connection.socket.shutdown();
    if (connection.small || connection.ended)
      connection.deadline = Math.min(connection.deadline, performance.now() + CLOSING_MS);
  }

  /** The client ended its side: it has closed, or it waits for the rest of its answer. */
  #end(connection: Connection | undefined): void {
    if (!connection) return;
    if (connection.finished || !connection.asked) this.#close(connection);
    else connection.ended = true;
  }

  #sweep(): void {
    const now = performance.now();
    for (const connection of [...this.#connections.values()])
      if (connection.deadline <= now) this.#close(connection);
    if (this.#opened >= MANY && now >= this.#nextCollection) {
      this.#opened = 0;
      Bun.gc(true);
      this.#nextCollection = now + 20 * (performance.now() - now);
    }
    if (this.#connections.size > 0) return;
    clearInterval(this.#sweeps);
    this.#sweeps = undefined;
  }

  /**
   * Gives free bytes to connections that wait, the newest first: a connection that waits long is one of many slow ones.
   */
  #resume(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    for (const connection of [...this.#waiting].reverse()) {
      this.#waiting.delete(connection);
      this.#write(connection);
      if (this.#waiting.has(connection)) return;
    }
  }

  #close(connection: Connection | undefined): void {
    this.#forget(connection);
    connection?.socket.terminate();
  }

  #forget(connection: Connection | undefined): void {
    if (!connection) return;
    const { socket, group } = connection;
    if (!this.#connections.delete(socket)) return;
    const others = this.#groups.get(group);
    others?.delete(connection);
    if (others?.size === 0) this.#groups.delete(group);
    this.#waiting.delete(connection);
    this.#reserved -= connection.reserved;
    const freed = connection.reserved > 0;
    connection.reserved = 0;
    if (!freed || this.#waiting.size === 0) return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#resume(), 0);
  }
}

const NOTHING: Body = { parts: [], length: 0 };
const NONE = Buffer.alloc(0);

/** A short answer in words. */
export function plain(
  status: Answer["status"],
  text: string,
  headers: Readonly<Record<string, string>> = {},
): Answer {
  const part = Buffer.from(`${text}\n`);
  return {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", ...headers },
    body: { parts: [part], length: part.length },
  };
}

function headOf({ status, headers, body }: Answer): Buffer {
  const at = Date.now();
  const lines = Object.entries({
    date: new Date(at).toUTCString(),
    ...headers,
    "content-length": `${body.length}`,
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`HTTP/1.1 ${status} ${REASONS[status]}\r\n${lines.join("")}\r\n`);
}

/**
 * Frees the memory of data that was read. The engine would wait until its heap has grown by a share of what it holds:
 * beside 100,000 CIDRs, 1,000 clients that send headers of 1 MB each made memory grow by 230 MB.
 */
function free({ buffer, length }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === length) buffer.transfer(0);
}

/** The IPv4 address; the first 64 bits of an IPv6 address, which belong to one machine; one group for loopback. */
function groupOf(remote: string): string {
  const address = remote.replace(/^::ffff:(?=\d+\.)/, "");
  if (address === "::1" || address.startsWith("127.")) return "loopback";
  if (!address.includes(":")) return address;
  return (address.split("::")[0] ?? "").split(":").slice(0, 4).join(":");
}
