import * as v from "valibot";
import { messageOf } from "../src/system/errors.ts";
import type { Echo } from "./echo.ts";
import { type Attempt, Refusal, Report } from "./message.ts";
import type { Namespace } from "./namespace.ts";
import { Places } from "./places.ts";
import { SECONDS } from "./timeouts.ts";

/** A connection from the Pod. */
export interface Connection {
  readonly protocol: "tcp" | "udp" | "icmp";
  /** The destination's address. */
  readonly to: string;
  /** The destination's port, 8080 by default; not for `icmp`. */
  readonly port?: number;
  /** One of the Pod's addresses; by default the first of the family. */
  readonly from?: string;
  /** Whether the Pod keeps a `tcp` connection open until the lab closes; otherwise it ends at once. */
  readonly isOpen?: boolean;
}

/** A connection as the server saw it. */
export interface Seen {
  readonly source: string;
  /** The source port; undefined for `icmp`. */
  readonly port?: number;
}

const UNSEEN = `no server saw it within ${SECONDS} s`;
const USUAL_PORT = 8080;

/** A socket's receive buffer holds 277 small datagrams by default, and drops more. */
const AT_ONCE = 100;

/** Makes real connections from the Pod, and collects what the servers see. */
export class Connections {
  readonly #client: Bun.Subprocess;
  readonly #servers: readonly Bun.Subprocess[];
  /** The servers that take connections, by port. */
  readonly #ports = new Map<number, PromiseWithResolvers<void> & { listening: number }>();
  readonly #underWay = new Map<string, PromiseWithResolvers<Seen>>();
  readonly #places = new Places(AT_ONCE);
  #made = 0;

  readonly #echo: Echo;

  constructor(pod: Namespace, servers: readonly Namespace[], echo: Echo) {
    this.#echo = echo;
    this.#client = pod.spawn(program("client.ts"), {
      ipc: message => {
        const { token, reason } = v.parse(Refusal, message);
        this.#underWay.get(token)?.reject(new Error(reason));
      },
    });
    this.#servers = servers.map(server =>
      server.spawn(program("server.ts"), { ipc: message => this.#reported(v.parse(Report, message)) }),
    );
  }

  /** Returns when both servers take connections at a port. */
  listen(port = USUAL_PORT): Promise<void> {
    const known = this.#ports.get(port) ?? { ...Promise.withResolvers<void>(), listening: 0 };
    if (!this.#ports.has(port)) for (const server of this.#servers) server.send({ port });
    this.#ports.set(port, known);
    return known.promise;
  }

  /**
   * Makes a connection and returns the address that the server saw.
   *
   * @throws Error if it is refused, or no server sees it within 2 seconds
   */
  async make(connection: Connection): Promise<Seen> {
    const { protocol, from = "the Pod", to, port } = connection;
    try {
      return await (protocol === "icmp" ? this.#ping(connection) : this.#send(protocol, connection));
    } catch (error) {
      const destination = port === undefined ? to : `${to} port ${port}`;
      throw new Error(`${protocol} from ${from} to ${destination}: ${messageOf(error)}`);
    }
  }

  async #ping({ to, from }: Connection): Promise<Seen> {
    const [source] = await this.#echo.send(to, from);
    if (source === undefined) throw new Error(UNSEEN);
    return { source };
  }

  async #send(protocol: "tcp" | "udp", { to, port = USUAL_PORT, from, isOpen }: Connection): Promise<Seen> {
    await this.listen(port);
    await this.#places.take();
    this.#made += 1;
    const token = `${this.#made}`;
    const seen = Promise.withResolvers<Seen>();
    const limit = setTimeout(() => seen.reject(new Error(UNSEEN)), 1000 * SECONDS);
    this.#underWay.set(token, seen);
    this.#client.send({ token, protocol, to, port, from, isOpen } satisfies Attempt);
    try {
      return await seen.promise;
    } finally {
      clearTimeout(limit);
      this.#underWay.delete(token);
      this.#places.give();
    }
  }

  #reported(report: Report): void {
    if ("token" in report) {
      this.#underWay.get(report.token)?.resolve({ source: report.source, port: report.port });
      return;
    }
    const known = this.#ports.get(report.listening);
    if (known !== undefined && ++known.listening === this.#servers.length) known.resolve();
  }
}

function program(file: string): string[] {
  return [process.execPath, `${import.meta.dirname}/${file}`];
}
