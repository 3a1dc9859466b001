import { type Connection, Connections, type Seen } from "./connections.ts";
import { Counters } from "./counters.ts";
import { Echo } from "./echo.ts";
import { Load, type LoadOptions } from "./load.ts";
import { isIsolated, Namespace } from "./namespace.ts";
import { batch, buildNetwork, isBuilt, removeNetwork } from "./network.ts";
import { LINKS, NAMESPACES, podAddress, route, type ServerName } from "./topology.ts";

/**
 * A Pod, a node, and two servers that answer for every address there is, in network namespaces; see
 * `topology.ts`. There can be one at a time.
 *
 *     await using lab = await Lab.create();
 *     await lab.node.output(["nft", "-f", "-"], { input: ruleset });
 *     const { source } = await lab.connect({ protocol: "tcp", to: "203.0.113.1" });
 *     lab.owner(source); // "node" if it was masqueraded
 */
export class Lab implements AsyncDisposable {
  readonly pod = new Namespace("pod");
  /** Where the agent and its rules belong. */
  readonly node = new Namespace("node");
  readonly inside = new Namespace("inside");
  readonly outside = new Namespace("outside");
  /** The interfaces' names and addresses. */
  readonly links = LINKS;

  readonly #podAddresses = new Set<string>(Object.values(LINKS.pod.far));
  readonly #counters = [new Counters(this.inside), new Counters(this.outside)];
  #connections: Connections | undefined;

  private constructor() {}

  /** @throws Error if it is not run by lab/isolate, or if there is a lab already */
  static async create(): Promise<Lab> {
    if (!isIsolated()) {
      throw new Error("the lab belongs into namespaces of its own: run this by `lab/isolate bun …`");
    }
    if (isBuilt()) throw new Error("there is a lab already: close that one first");
    const lab = new Lab();
    try {
      await buildNetwork();
      await lab.#startServers();
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /**
   * Makes a connection from the Pod and returns what the server saw. There is a server for every unicast address
   * but the node's and the Pod's own and those that Linux does not forward (127.0.0.0/8, fe80::/10 and the like).
   *
   * @throws Error if it is refused, or no server sees it within 2 seconds
   */
  async connect(connection: Connection): Promise<Seen> {
    if (this.#connections === undefined) throw new Error("the lab is closed");
    return this.#connections.make(connection);
  }

  /** Starts a load; there can be one at a time. Does not return before its first flows are under way. */
  load(options: LoadOptions): Promise<Load> {
    return Load.start(
      { pod: this.pod, counters: this.#counters, owner: address => this.owner(address) },
      options,
    );
  }

  /** Makes a connection, and returns whose address the server saw. */
  async ownerSeen(connection: Connection): Promise<ReturnType<Lab["owner"]>> {
    return this.owner((await this.connect(connection)).source);
  }

  /** Whose address it is. */
  owner(address: string): "pod" | "node" | "other" {
    if (this.#podAddresses.has(address)) return "pod";
    const node = Object.values(LINKS).flatMap(({ near }) => Object.values<string>(near));
    return node.includes(address) ? "node" : "other";
  }

  /** Gives the Pod one more address, to be used as `from`. */
  async addPodAddress(address: string): Promise<void> {
    const lines = podAddress(address);
    await Promise.all([batch([lines.pod], "-n", "pod"), batch([lines.node], "-n", "node")]);
    this.#podAddresses.add(address);
  }

  /** Lets the other server answer for a CIDR. */
  async route(cidr: string, to: ServerName): Promise<void> {
    await batch([route(cidr, to)], "-n", "node");
  }

  /** Kills every program in the namespaces and removes them. May be called more than once. */
  async close(): Promise<void> {
    this.#connections = undefined;
    await Promise.all(NAMESPACES.map(name => this[name].clear()));
    await removeNetwork();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #startServers(): Promise<void> {
    this.#connections = new Connections(
      this.pod,
      [this.inside, this.outside],
      new Echo(this.pod, this.#counters),
    );
    await Promise.all([this.#connections.listen(), ...this.#counters.map(counters => counters.install())]);
  }
}
