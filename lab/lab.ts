import { type Connection, Connections, type Seen } from "./connections.ts";
import { Counters } from "./counters.ts";
import { Echo } from "./echo.ts";
import { Load, type LoadOptions } from "./load.ts";
import { isIsolated, Namespace } from "./namespace.ts";
import { batch, buildNetwork, isBuilt, removeNetwork } from "./network.ts";
import { LINKS, NAMESPACES, podAddress, route, type ServerName } from "./topology.ts";

export type Owner = "pod" | "node" | "other";

/**
 * A Pod, a node, and two servers that answer at every address, in network namespaces; see `topology.ts`. There can be
 * one at a time.
 *
 *     await using lab = await Lab.create();
 *     await lab.node.output(["nft", "-f", "-"], { input: ruleset });
 *     const { source } = await lab.connect({ protocol: "tcp", to: "203.0.113.1" });
 *     lab.owner(source); // "node" if the connection was masqueraded
 */
export class Lab implements AsyncDisposable {
  readonly pod = new Namespace("pod");
  /** The namespace for the agent and its rules. */
  readonly node = new Namespace("node");
  readonly inside = new Namespace("inside");
  readonly outside = new Namespace("outside");
  /** Names and addresses of the interfaces. */
  readonly links = LINKS;

  readonly #counters = [new Counters(this.inside), new Counters(this.outside)];
  #podAddresses: readonly string[] = [];
  #connections: Connections | undefined;

  /** @throws Error outside of lab/isolate, and if there is a lab already */
  static async create(): Promise<Lab> {
    const lab = new Lab();
    await lab.open();
    return lab;
  }

  /** Builds the network and starts the servers; again after `close`. */
  async open(): Promise<void> {
    if (!isIsolated()) throw new Error("the lab needs its own namespaces: run `lab/isolate bun …`");
    if (isBuilt()) throw new Error("there is a lab already: close it first");
    this.#podAddresses = Object.values(LINKS.pod.far);
    try {
      await buildNetwork();
      const echo = new Echo(this.pod, this.#counters);
      this.#connections = new Connections(this.pod, [this.inside, this.outside], echo);
      await Promise.all([this.#connections.listen(), ...this.#counters.map(counters => counters.install())]);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /**
   * Makes a connection from the Pod and returns the address that the server saw. Servers answer at every unicast
   * address except the node's, the Pod's, and those that Linux does not forward (127.0.0.0/8, fe80::/10 and similar).
   *
   * @throws Error if it is refused, or no server sees it within 2 seconds
   */
  async connect(connection: Connection): Promise<Seen> {
    if (this.#connections === undefined) throw new Error("the lab is closed");
    return this.#connections.make(connection);
  }

  /** Makes a connection and returns the owner of the source address that the server saw. */
  async ownerSeen(connection: Connection): Promise<Owner> {
    return this.owner((await this.connect(connection)).source);
  }

  /** Makes connections until the server sees an address of that owner. Throws after 20 s. */
  async ownerBecomes(connection: Connection, owner: Owner): Promise<void> {
    const until = performance.now() + 20_000;
    while ((await this.ownerSeen(connection)) !== owner) {
      if (performance.now() > until) throw new Error(`${connection.to} never sees the address of: ${owner}`);
    }
  }

  /** Starts a load; there can be one at a time. Returns when its first flows are on their way. */
  load(options: LoadOptions): Promise<Load> {
    const owner = (address: string) => this.owner(address);
    return Load.start({ pod: this.pod, counters: this.#counters, owner }, options);
  }

  owner(address: string): Owner {
    if (this.#podAddresses.includes(address)) return "pod";
    const node = Object.values(LINKS).flatMap(({ near }) => Object.values<string>(near));
    return node.includes(address) ? "node" : "other";
  }

  /** Gives the Pod another address, for `from`. */
  async addPodAddress(address: string): Promise<void> {
    const lines = podAddress(address);
    await Promise.all([batch([lines.pod], "-n", "pod"), batch([lines.node], "-n", "node")]);
    this.#podAddresses = [...this.#podAddresses, address];
  }

  /** Deletes all rules on the node. Leaves out legacy tables that do not exist, because a look creates them. */
  flushRules(): Promise<string> {
    const flush = (program: string, names: string) =>
      `for table in $(cat /proc/net/${names}); do ${program}-legacy -t $table -F; ${program}-legacy -t $table -X; done`;
    const legacy = [flush("iptables", "ip_tables_names"), flush("ip6tables", "ip6_tables_names")];
    return this.node.output(["sh", "-ec", ["nft flush ruleset", ...legacy].join("\n")]);
  }

  /** Routes a CIDR to the other server. */
  async route(cidr: string, to: ServerName): Promise<void> {
    await batch([route(cidr, to)], "-n", "node");
  }

  /** Kills every program in the namespaces and removes them. Does nothing if the lab is closed. */
  async close(): Promise<void> {
    this.#connections = undefined;
    await Promise.all(NAMESPACES.map(name => this[name].clear()));
    await removeNetwork();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
