import * as v from "valibot";
import type { Family } from "../src/net/cidr.ts";
import type { Namespace } from "./namespace.ts";
import { FAMILIES } from "./topology.ts";

/** Packets that came to one destination from one source. */
export interface Count {
  readonly destination: string;
  readonly source: string;
  readonly packets: number;
}

/** Echo requests, and the empty datagrams of the load. */
export type Counted = "pings" | "flows";

/**
 * What a server counts in nft sets before anything else sees a packet: in the hook that connection tracking
 * comes after. The datagrams of the load are dropped there, because an answer, be it only an ICMP error, would
 * cost as much as the load itself.
 */
export class Counters {
  constructor(private readonly server: Namespace) {}

  async install(): Promise<void> {
    await this.server.output(["nft", "-f", "-"], { input: FAMILIES.map(table).join("") });
  }

  /** Begins anew with nothing counted, in both families. */
  async reset(counted: Counted): Promise<void> {
    const flush = FAMILIES.map(family => `flush set ${family} lab ${counted}`);
    await this.server.output(["nft", flush.join("; ")]);
  }

  async read(counted: Counted, family: Family): Promise<Count[]> {
    const json = await this.server.output(["nft", "-j", "list", "set", family, "lab", counted]);
    const { nftables } = v.parse(Listing, JSON.parse(json));
    return nftables.flatMap(({ set }) => set?.elem ?? []).map(countOf);
  }
}

function table(family: Family): string {
  const address = family === "ip" ? "ipv4_addr" : "ipv6_addr";
  const icmp = family === "ip" ? "icmp" : "icmpv6";
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

/** A metainfo object stands in front of the set. */
const Listing = v.object({
  nftables: v.array(v.object({ set: v.optional(v.object({ elem: v.optional(v.array(Element)) })) })),
});

function countOf({ elem }: v.InferOutput<typeof Element>): Count {
  const [destination, source] = elem.val.concat;
  return { destination, source, packets: elem.counter.packets };
}
