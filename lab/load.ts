import * as v from "valibot";
import type { Counters } from "./counters.ts";
import { type Order, Sent, STOP } from "./message.ts";
import type { Namespace } from "./namespace.ts";
import { familyOf } from "./topology.ts";

export interface LoadOptions {
  /** Addresses as nft prints them. The flows are spread evenly over them. */
  readonly destinations: readonly string[];
  /** The rate to all destinations together. */
  readonly flowsPerSecond: number;
  /** The load ends after this time, 120 by default, or when it is stopped. */
  readonly seconds?: number;
}

/** The results of the flows to one destination. */
export interface Tally {
  readonly destination: string;
  readonly sent: number;
  /** Arrived with one of the Pod's addresses: kept. */
  readonly fromPod: number;
  /** Arrived with one of the node's addresses: masqueraded. */
  readonly fromNode: number;
  /** Arrived with another address. */
  readonly other: number;
  /** Did not arrive. */
  readonly lost: number;
}

/** A flow takes less than 1 ms. One that has not arrived this long after the last is lost. */
const DRAIN_MS = 500;

/** Where a load starts and where it is counted. */
interface Place {
  readonly pod: Namespace;
  readonly counters: readonly Counters[];
  owner(address: string): "pod" | "node" | "other";
}

/** A load of new UDP flows from the Pod: one empty datagram each, which the servers count and drop. */
export class Load {
  readonly #sender: Bun.Subprocess;
  readonly #started = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  #sent: readonly number[] = [];

  readonly #place: Place;
  readonly #destinations: readonly string[];

  private constructor(place: Place, destinations: readonly string[]) {
    this.#place = place;
    this.#destinations = destinations;
    this.#sender = place.pod.spawn([process.execPath, `${import.meta.dirname}/sender.ts`], {
      ipc: message => {
        const { sent, ended } = v.parse(Sent, message);
        this.#sent = sent;
        if (this.sent > 0) this.#started.resolve();
        if (ended) this.#ended.resolve();
      },
    });
    this.#sender.exited.then(exitCode => {
      const dead = new Error(`the sender of the load ended too early, with exit code ${exitCode}`);
      this.#started.reject(dead);
      this.#ended.reject(dead);
    });
    this.#ended.promise.catch(() => {}); // a test may never stop the load
  }

  /** Returns when the first flows are on their way. Resets the counters, so there can be one load at a time. */
  static async start(place: Place, options: LoadOptions): Promise<Load> {
    const { destinations, flowsPerSecond, seconds = 120 } = options;
    await Promise.all(place.counters.map(counters => counters.reset("flows")));
    const load = new Load(place, destinations);
    load.#sender.send({ destinations: [...destinations], flowsPerSecond, seconds } satisfies Order);
    await load.#started.promise;
    return load;
  }

  /** The flows sent until 50 ms ago. */
  get sent(): number {
    return this.#sent.reduce((sum, sent) => sum + sent, 0);
  }

  /** Resolves when the time is up or the load was stopped. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Ends the load, waits until its flows have arrived, and returns one tally per destination. */
  async stop(): Promise<Tally[]> {
    if (this.#sender.exitCode === null) this.#sender.send(STOP);
    await this.ended;
    this.#sender.kill();
    const deadline = performance.now() + DRAIN_MS;
    let tallies = await this.tally();
    while (tallies.some(({ lost }) => lost > 0) && performance.now() < deadline) {
      tallies = await this.tally();
    }
    return tallies;
  }

  /** The tallies so far. While the load runs, `lost` includes flows on their way. */
  async tally(): Promise<Tally[]> {
    const { counters, owner } = this.#place;
    const families = [...new Set(this.#destinations.map(familyOf))];
    const readings = counters.flatMap(it => families.map(family => it.read("flows", family)));
    const counts = (await Promise.all(readings)).flat();
    return this.#destinations.map((destination, i) => {
      const arrived = { pod: 0, node: 0, other: 0 };
      for (const count of counts) {
        if (count.destination === destination) arrived[owner(count.source)] += count.packets;
      }
      const { pod: fromPod, node: fromNode, other } = arrived;
      const sent = this.#sent[i] ?? 0;
      return { destination, sent, fromPod, fromNode, other, lost: sent - fromPod - fromNode - other };
    });
  }
}
