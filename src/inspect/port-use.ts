import * as v from "valibot";
import { type Entry, hasPorts, protocolName } from "../conntrack/entry.ts";
import { type AddressValue, FAMILIES, type Family } from "../net/cidr.ts";
import { formatPortRanges, type PortRange, portCount } from "../net/ports.ts";
import { addressOf } from "../net/ranges.ts";
import type { Judgement } from "./judgement.ts";

/** A line of the output of `connections --ports --output=json`. Keys stay from version to version. */
export const PortUse = v.object({
  family: v.picklist(FAMILIES),
  protocol: v.string(),
  destination: v.pipe(v.string(), v.description("the address of the peer, after DNAT")),
  port: v.number(),
  address: v.pipe(v.string(), v.description("the address of the node that the peer sees")),
  ports: v.pipe(v.string(), v.description("the source ports that these connections may use")),
  used: v.pipe(v.number(), v.description("source ports in use")),
  available: v.pipe(v.number(), v.description("the number of ports in ports")),
  uncounted: v.pipe(
    v.number(),
    v.description(
      "upper limit for the connections that used does not count; 0 with up to 50,000 destinations",
    ),
  ),
});
export type PortUse = v.InferOutput<typeof PortUse>;

/**
 * The ports that masquerading chooses from without --to-ports, by the source port of the connection before it. A port
 * that is free stays. nf_nat_l4proto_unique_tuple of Linux, in net/netfilter/nf_nat_core.c.
 */
const CLASSES: readonly PortRange[] = [
  { first: 1, last: 511 },
  { first: 600, last: 1023 },
  { first: 1024, last: 65535 },
];

interface Use {
  readonly family: Family;
  readonly protocol: number;
  readonly destination: AddressValue;
  readonly port: number;
  readonly address: AddressValue;
  readonly ports: readonly PortRange[];
  count: number;
}

/**
 * Counts source ports in use by destination. Two connections of one protocol, to the same address and port, from the
 * same address, never have the same source port: the kernel could not tell their answers apart.
 */
export class PortTally {
  /** Bounded as in Misra and Gries, Finding repeated elements (1982). */
  readonly #uses = new Map<string, Use>();
  readonly #ranges: readonly (readonly PortRange[])[];
  #uncounted = 0;

  /**
   * @param toPorts the ports of --to-ports
   * @param most limits the destinations that are counted at a time; only tests set it
   */
  constructor(
    toPorts: readonly PortRange[] | undefined,
    readonly most = MOST_DESTINATIONS,
  ) {
    this.#ranges = toPorts ? [toPorts] : CLASSES.map(range => [range]);
  }

  /** Counts a connection if its peer sees an address of the node. */
  add({ family, protocol, reply }: Entry, judgement: Judgement): void {
    if ("exempt" in judgement || judgement.has === "kept" || !hasPorts(protocol)) return;
    const { source: destination, sourcePort: port, destination: address, destinationPort: used } = reply;
    const at = this.#ranges.findIndex(ranges => ranges.some(it => it.first <= used && used <= it.last));
    const ports = this.#ranges[at];
    if (!ports) return;
    const key = `${protocol} ${destination} ${port} ${address} ${at}`;
    const use = this.#uses.get(key);
    if (use) {
      use.count++;
      return;
    }
    this.#uses.set(key, { family, protocol, destination, port, address, ports, count: 1 });
    if (this.#uses.size > this.most) this.#forgetRare();
  }

  /** The destinations with the highest share of ports in use, in descending order. */
  busiest(most: number): PortUse[] {
    return [...this.#uses.values()]
      .map(use => ({ use, available: portCount(use.ports) }))
      .sort((a, b) => b.use.count / b.available - a.use.count / a.available)
      .slice(0, most)
      .map(({ use: { family, protocol, destination, port, address, ports, count }, available }) => ({
        family,
        protocol: protocolName(protocol),
        destination: addressOf(family, destination).text,
        port,
        address: addressOf(family, address).text,
        ports: formatPortRanges(ports),
        used: count,
        available,
        uncounted: this.#uncounted,
      }));
  }

  #forgetRare(): void {
    this.#uncounted++;
    for (const [key, use] of this.#uses) {
      use.count--;
      if (use.count === 0) this.#uses.delete(key);
    }
  }
}

/** Measured: 50,000 destinations take 15 MB. */
const MOST_DESTINATIONS = 50_000;
