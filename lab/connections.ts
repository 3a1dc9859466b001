import * as v from "valibot";
import { messageOf } from "../src/system/errors.ts";
import type { Echo } from "./echo.ts";
import { type Attempt, type Listen, Listening, Refusal, Sighting } from "./message.ts";
import type { Namespace } from "./namespace.ts";
import { Places } from "./places.ts";
import { SECONDS } from "./timeouts.ts";

/** A connection from the Pod to be made. */
export interface Connection {
  readonly protocol: "tcp" | "udp" | "icmp";
  /** The destination's address. */
  readonly to: string;
  /** The destination's port, 8080 if left out. Without meaning for `icmp`. */
  readonly port?: number;
  /** Which of the Pod's addresses it comes from; the first one of the family if left out. */
  readonly from?: string;
}

/** What the server saw of a connection. */
export interface Seen {
  readonly source: string;
  /** The source port; not there for `icmp`. */
  readonly port?: number;
}

/** A connection within the lab takes less than a millisecond; that it takes longer means that it was dropped. */
const LIMIT_MS = 1000 * SECONDS;
const UNSEEN = `no server saw it within ${SECONDS} s`;
const USUAL_PORT = 8080;

/** The receive buffer of a socket holds 277 small datagrams by default, and what does not fit is lost. */
const AT_ONCE = 100;

/** Makes real connections from the Pod's namespace and hears from the servers what they saw. */
export class Connections {
  readonly #client: Bun.Subprocess;
  readonly #servers: readonly Server[];
  readonly #underWay = new Map<string, PromiseWithResolvers<Seen>>();
  readonly #places = new Places(AT_ONCE);
  #made = 0;

  constructor(
    pod: Namespace,
    servers: readonly Namespace[],
    private readonly echo: Echo,
  ) {
    this.#client = pod.spawn(program("client.ts"), { ipc: message => this.#refused(message) });
    this.#servers = servers.map(server => new Server(server, sighting => this.#saw(sighting)));
  }

  /** Returns when both servers take connections at a port. */
  async listen(port = USUAL_PORT): Promise<void> {
    await Promise.all(this.#servers.map(server => server.listen(port)));
  }

  /**
   * Makes a connection and returns what the server saw.
   *
   * @throws Error if it is refused, or no server sees it within 2 seconds
   */
  async make(connection: Connection): Promise<Seen> {
    const { protocol } = connection;
    try {
      return await (protocol === "icmp" ? this.#ping(connection) : this.#send(protocol, connection));
    } catch (error) {
      throw new Error(`${described(connection)}: ${messageOf(error)}`);
    }
  }

  async #ping({ to, from }: Connection): Promise<Seen> {
    const [source] = await this.echo.send(to, from);
    if (source === undefined) throw new Error(UNSEEN);
    return { source };
  }

  async #send(protocol: "tcp" | "udp", { to, port = USUAL_PORT, from }: Connection): Promise<Seen> {
    await this.listen(port);
    await this.#places.take();
    this.#made += 1;
    const token = `${this.#made}`;
    const seen = Promise.withResolvers<Seen>();
    const limit = setTimeout(() => seen.reject(new Error(UNSEEN)), LIMIT_MS);
    this.#underWay.set(token, seen);
    this.#client.send({ token, protocol, to, port, from } satisfies Attempt);
    try {
      return await seen.promise;
    } finally {
      clearTimeout(limit);
      this.#underWay.delete(token);
      this.#places.give();
    }
  }

  #saw({ token, source, port }: Sighting): void {
    this.#underWay.get(token)?.resolve({ source, port });
  }

  #refused(message: unknown): void {
    const { token, reason } = v.parse(Refusal, message);
    this.#underWay.get(token)?.reject(new Error(reason));
  }
}

/** The program in a server's namespace, which takes TCP and UDP at any address. */
class Server {
  readonly #program: Bun.Subprocess;
  readonly #ports = new Map<number, PromiseWithResolvers<void>>();

  constructor(
    namespace: Namespace,
    private readonly saw: (sighting: Sighting) => void,
  ) {
    this.#program = namespace.spawn(program("server.ts"), { ipc: message => this.#told(message) });
  }

  listen(port: number): Promise<void> {
    let listening = this.#ports.get(port);
    if (listening === undefined) {
      listening = Promise.withResolvers<void>();
      this.#ports.set(port, listening);
      this.#program.send({ port } satisfies Listen);
    }
    return listening.promise;
  }

  #told(message: unknown): void {
    const told = v.parse(v.union([Sighting, Listening]), message);
    if ("token" in told) this.saw(told);
    else this.#ports.get(told.listening)?.resolve();
  }
}

function program(file: string): string[] {
  return [process.execPath, `${import.meta.dirname}/${file}`];
}

function described({ protocol, from = "the Pod", to, port }: Connection): string {
  return `${protocol} from ${from} to ${to}${port === undefined ? "" : ` port ${port}`}`;
}
