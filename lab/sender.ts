/** The program behind a load: sends new UDP flows from the Pod at a steady rate. */
import * as v from "valibot";
import { Order, type Sent, STOP } from "./message.ts";
import { familyOf } from "./topology.ts";

/** With 65,535 ports each, a pair of ports returns after 262,140 flows: 13 s at 20,000 per second. */
const SOCKETS = 4;

/**
 * Flows sent at once to one destination. A veth end queues 1,000 packets at most (net.core.netdev_max_backlog), so a
 * sender that was not scheduled for a while must not catch up in one burst.
 */
const AT_ONCE = 100;

const REPORT_MS = 50;
const NOTHING = new Uint8Array(0);

let stopped = false;
process.on("message", (message: unknown) => {
  if (message === STOP) stopped = true;
  else send(v.parse(Order, message));
});
process.on("disconnect", () => process.exit());

async function send({ destinations, flowsPerSecond, seconds }: Order): Promise<void> {
  const streams = await Promise.all(destinations.map(Stream.open));
  const report = (ended: boolean) => {
    process.send?.({ sent: streams.map(({ sent }) => sent), ended } satisfies Sent);
  };
  const reports = setInterval(report, REPORT_MS, false);
  const begin = performance.now();
  for (let elapsed = 0; !stopped && elapsed < seconds * 1000; elapsed = performance.now() - begin) {
    const due = Math.floor((elapsed / 1000) * (flowsPerSecond / streams.length));
    for (const stream of streams) stream.send(Math.min(due - stream.sent, AT_ONCE));
    await Bun.sleep(streams.some(({ sent }) => sent < due) ? 0 : 1);
  }
  clearInterval(reports);
  report(true);
}

/** Flows to one destination, each with its own pair of ports. */
class Stream {
  sent = 0;

  readonly #destination: string;
  readonly #sockets: readonly Bun.udp.Socket<"buffer">[];

  private constructor(destination: string, sockets: readonly Bun.udp.Socket<"buffer">[]) {
    this.#destination = destination;
    this.#sockets = sockets;
  }

  static async open(this: void, destination: string): Promise<Stream> {
    const hostname = familyOf(destination) === "ip" ? "0.0.0.0" : "::";
    const sockets = Array.from({ length: SOCKETS }, () => Bun.udpSocket({ hostname }));
    return new Stream(destination, await Promise.all(sockets));
  }

  /**
   * Sends up to this many flows: fewer if the socket's buffer is full or its ports are used up. Counts none if the
   * kernel ran out of buffers, as a slow emulated machine does; the next call sends these flows again.
   */
  send(flows: number): void {
    const round = Math.floor(this.sent / 65_535);
    const firstPort = (this.sent % 65_535) + 1;
    const packets: (Uint8Array | number | string)[] = [];
    for (let port = firstPort; port < firstPort + flows && port <= 65_535; port++) {
      packets.push(NOTHING, port, this.#destination);
    }
    if (packets.length === 0) return;
    try {
      this.sent += this.#sockets[round % SOCKETS]?.sendMany(packets) ?? 0;
    } catch (error) {
      if (!isOutOfBuffers(error)) throw error;
    }
  }
}

function isOutOfBuffers(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOBUFS";
}
