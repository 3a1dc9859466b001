import { cpus } from "node:os";
import * as v from "valibot";
import { Namespace } from "../../lab/namespace.ts";
import { batch, writeSysctls } from "../../lab/network.ts";
import { sysctls } from "../../lab/topology.ts";
import { type Order, type Sender, Slice } from "./slice.ts";

/** A path for packets through its own node, whose rules are measured. */
export interface Path {
  readonly node: Namespace;
  /** The address of the Pod. */
  readonly pod: string;
  /** The interface at the Pod's end. */
  readonly interface: string;
}

/** The result of flows sent at full speed. */
export interface Passed {
  /** Elapsed time and the sender's CPU time, in ms. */
  readonly took: number;
  readonly cpu: number;
  readonly sent: number;
  readonly arrived: number;
  /** The share of arrived flows with the node's address: 0 if all were kept, 1 if all were masqueraded. */
  readonly masqueraded: number;
}

const NODE = "198.51.100.2";
const SINK = "198.51.100.1";
const MACS = {
  pod: "02:00:00:00:00:02",
  near: "02:00:00:00:00:01",
  far: "02:00:00:00:01:01",
  sink: "02:00:00:00:01:02",
};

/**
 * Pods, any number of nodes, and a sink that counts and drops the packets that a node forwards.
 *
 *     pods path0 ───── in  node0  out ───── path0 sink
 *          path1 ───── in  node1  out ───── path1
 *
 * The sender has its own core. A veth pair delivers a packet within the system call that sends it, so all work of the
 * node is done on that core before the packet counts as sent.
 */
export class Paths implements AsyncDisposable {
  readonly #pods = new Namespace("pods");
  readonly #sink = new Namespace("sink");
  readonly #paths: Path[] = [];
  #sender: Bun.Subprocess | undefined;
  #slice = Promise.withResolvers<Slice>();

  private constructor() {}

  static async create(): Promise<Paths> {
    const paths = new Paths();
    await batch(["netns add pods", "netns add sink"]);
    await paths.#sink.output(["nft", "-f", "-"], { input: COUNT });
    return paths;
  }

  /** Makes a node without rules, and the path through it. */
  async add(): Promise<Path> {
    const number = this.#paths.length;
    const node = new Namespace(`node${number}`);
    const path = { node, pod: `10.244.${number}.2`, interface: `path${number}` };
    await batch([`netns add ${node.name}`]);
    await writeSysctls(node.name, sysctls("node"));
    await batch([
      `link add in netns ${node.name} address ${MACS.near} type veth peer ${path.interface} netns pods address ${MACS.pod}`,
      `link add out netns ${node.name} address ${MACS.far} type veth peer ${path.interface} netns sink address ${MACS.sink}`,
    ]);
    await batch(podLinks(path, number), "-n", "pods");
    await batch([`link set ${path.interface} up`], "-n", "sink");
    await batch(nodeLinks(path), "-n", node.name);
    this.#paths.push(path);
    return path;
  }

  /** Sends new flows to one destination at full speed, until this number or this many ms is reached. */
  async send(path: Path, sender: Sender, destination: string, flows: number, limit: number): Promise<Passed> {
    const before = await this.#counted();
    const { sent, took, cpu } = await this.#ask({
      interface: path.interface,
      sender,
      addresses: { sourceMac: MACS.pod, gatewayMac: MACS.near, source: path.pod, destination },
      flows,
      limit,
    });
    const after = await this.#counted();
    const [kept, masqueraded] = [after.kept - before.kept, after.masqueraded - before.masqueraded];
    const arrived = kept + masqueraded;
    await path.node.output(["conntrack", "--flush"]);
    return { took, cpu, sent, arrived, masqueraded: masqueraded / arrived };
  }

  async close(): Promise<void> {
    this.#sender?.kill();
    await this.#sender?.exited;
    const namespaces = [...this.#paths.map(({ node }) => node), this.#pods, this.#sink];
    await Promise.all(namespaces.map(namespace => namespace.clear()));
    await batch(namespaces.map(({ name }) => `netns delete ${name}`));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ask(order: Order): Promise<Slice> {
    this.#slice = Promise.withResolvers();
    this.#sender ??= this.#startSender();
    this.#sender.send(order);
    return await this.#slice.promise;
  }

  #startSender(): Bun.Subprocess {
    const core = String(cpus().length - 1);
    const program = ["taskset", "--cpu-list", core, process.execPath, `${import.meta.dirname}/sender.ts`];
    const sender = this.#pods.spawn(program, {
      ipc: message => this.#slice.resolve(v.parse(Slice, message)),
    });
    sender.exited.then(() => this.#slice.reject(new Error("the sender has died")));
    return sender;
  }

  async #counted(): Promise<{ kept: number; masqueraded: number }> {
    const { nftables } = v.parse(
      Counters,
      JSON.parse(await this.#sink.output(["nft", "-j", "list", "counters"])),
    );
    const packets = (name: string) => nftables.find(it => it.counter?.name === name)?.counter?.packets ?? 0;
    return { kept: packets("kept"), masqueraded: packets("masqueraded") };
  }
}

const COUNT = `table ip sink {
  counter kept {
  }
  counter masqueraded {
  }
  chain prerouting {
    type filter hook prerouting priority raw
    ip saddr 10.244.0.0/16 counter name kept drop
    ip saddr ${NODE} counter name masqueraded drop
  }
}`;

/** The first object is nft's metainfo. */
const Counters = v.object({
  nftables: v.array(v.object({ counter: v.optional(v.object({ name: v.string(), packets: v.number() })) })),
});

/** A socket bound to a Pod's address uses that Pod's route. */
function podLinks({ pod, interface: name }: Path, number: number): string[] {
  return [
    `link set ${name} up`,
    `address add ${pod}/32 dev ${name}`,
    `neighbour add 169.254.1.1 lladdr ${MACS.near} dev ${name}`,
    `route add default via 169.254.1.1 dev ${name} onlink table ${100 + number}`,
    `rule add from ${pod} lookup ${100 + number}`,
  ];
}

function nodeLinks({ pod }: Path): string[] {
  return [
    "link set lo up",
    "link set in up",
    "link set out up",
    `route add ${pod} dev in`,
    `address add ${NODE} peer ${SINK} dev out`,
    `neighbour add ${SINK} lladdr ${MACS.sink} dev out`,
    `route add default via ${SINK} dev out`,
  ];
}
