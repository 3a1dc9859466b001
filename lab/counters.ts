import * as v from "valibot";
import { FAMILIES, type Family } from "../src/net/cidr.ts";
import type { Namespace } from "./namespace.ts";

/** Packets that arrived at one destination from one source. */
export interface Count {
  readonly destination: string;
  readonly source: string;
  readonly packets: number;
}

/** Echo requests, and the empty datagrams of the load. */
export type Counted = "pings" | "flows";

/**
 * A server's counts, in nft sets before connection tracking. The datagrams of the load are dropped there, because any
 * answer, even an ICMP error, would cost as much as the load.
 */
export class Counters {
  readonly #server: Namespace;

  constructor(server: Namespace) {
    this.#server = server;
  }

  async install(): Promise<void> {
    await this.#server.output(["nft", "-f", "-"], { input: FAMILIES.map(table).join("") });
  }

  /** Starts again from 0, in both families. */
  async reset(counted: Counted): Promise<void> {
    const flush = FAMILIES.map(family => `flush set ${family} lab ${counted}`);
    await this.#server.output(["nft", flush.join("; ")]);
  }

  async read(counted: Counted, family: Family): Promise<Count[]> {
    const json = await this.#server.output(["nft", "-j", "list", "set", family, "lab", counted]);
    const { nftables } = v.parse(Listing, JSON.parse(json));
    return nftables
      .flatMap(({ set }) => set?.elem ?? [])
      .map(({ elem: { val, counter } }) => {
        const [destination, source] = val.concat;
        return { destination, source, packets: counter.packets };
      });
  }
}

function table(family: Family): string {
  const [address, icmp] = family === "ip" ? ["ipv4_addr", "icmp"] : ["ipv6_addr", "icmpv6"];
  const key = `{ ${family} daddr . ${family} saddr counter }`;
  return `
    table ${family} lab {
      set pings { type ${address} . ${address}; size 65535; flags dynamic; }
      set flows { type ${address} . ${address}; size 65535; flags dynamic; }
      chain prerouting {
        type filter hook prerouting priority raw;
        ${icmp} type echo-request add @pings ${key}
        udp length 8 add @flows ${key} drop
      }
    }`;
}

const Element = v.object({
  elem: v.object({
    val: v.object({ concat: v.tuple([v.string(), v.string()]) }),
    counter: v.object({ packets: v.number() }),
  }),
});

/** The first object is nft's metainfo. */
const Listing = v.object({
  nftables: v.array(v.object({ set: v.optional(v.object({ elem: v.optional(v.array(Element)) })) })),
});
