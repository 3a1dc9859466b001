import type { Socket } from "bun";
import type { HttpConnection } from "./http-connection.ts";

/** The open connections, by socket and by client. */
export class ConnectionPool {
  readonly #bySocket = new Map<Socket<undefined>, HttpConnection>();
  /** The connections of each client, oldest first. */
  readonly #byClient = new Map<string, Set<HttpConnection>>();

  get size(): number {
    return this.#bySocket.size;
  }

  /** All connections, in a copy: they may be removed meanwhile. */
  get all(): HttpConnection[] {
    return [...this.#bySocket.values()];
  }

  get(socket: Socket<undefined>): HttpConnection | undefined {
    return this.#bySocket.get(socket);
  }

  has({ socket }: HttpConnection): boolean {
    return this.#bySocket.has(socket);
  }

  add(connection: HttpConnection): void {
    const { socket, client } = connection;
    this.#bySocket.set(socket, connection);
    const known = this.#byClient.get(client);
    if (known) known.add(connection);
    else this.#byClient.set(client, new Set([connection]));
  }

  /** Returns false if the connection was removed before. */
  remove(connection: HttpConnection): boolean {
    const { socket, client } = connection;
    if (!this.#bySocket.delete(socket)) return false;
    const rest = this.#byClient.get(client);
    rest?.delete(connection);
    if (rest?.size === 0) this.#byClient.delete(client);
    return true;
  }

  /** The oldest connection of the client with the most connections. */
  oldestOfLargest(): HttpConnection | undefined {
    let largest: ReadonlySet<HttpConnection> = new Set();
    for (const connections of this.#byClient.values())
      if (connections.size > largest.size) largest = connections;
    const [oldest] = largest;
    return oldest;
  }

  /** The oldest connection without progress since `time`, of the client with the most bytes in the kernel. */
  stalledSince(time: number): HttpConnection | undefined {
    let most = 0;
    let stalled: HttpConnection | undefined;
    for (const connections of this.#byClient.values()) {
      let bytes = 0;
      let oldest: HttpConnection | undefined;
      for (const it of connections) {
        bytes += it.reserved;
        if (it.reserved > 0 && it.lastWrite <= time) oldest ??= it;
      }
      if (oldest && bytes > most) {
        most = bytes;
        stalled = oldest;
      }
    }
    return stalled;
  }
}

/** The client for limits: an IPv4 address, the first 64 bits of an IPv6 address, or loopback with all its addresses. */
export function clientOf(remote: string): string {
  const address = remote.replace(/^::ffff:(?=\d+\.)/, "");
  if (address === "::1" || address.startsWith("127.")) return "loopback";
  if (!address.includes(":")) return address;
  return (address.split("::")[0] ?? "").split(":").slice(0, 4).join(":");
}
