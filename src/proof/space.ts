import type { AddressValue, Cidr, Family } from "../net/cidr.ts";
import { BROADCAST, MULTICAST } from "../net/group-address.ts";
import { difference, every, intersection, NONE, type Ranges, rangesOf, united } from "../net/ranges.ts";
import type { Condition } from "../net/trace.ts";
import { InterfaceClasses } from "./interface-classes.ts";
import { MarkClasses } from "./mark-classes.ts";
import { EVERY_TRANSPORT, portRanges, protocolRanges } from "./transport.ts";

/** The dimensions of packets, in the order of diagrams. */
export const DIMENSIONS = ["destination", "source", "out", "transport", "mark", "ipsec"] as const;
export type Dimension = (typeof DIMENSIONS)[number];

/** The node's own and broadcast addresses, as `fib daddr type` and addrtype see them. */
export interface NodeAddresses {
  readonly local: readonly Cidr[];
  readonly broadcast: readonly Cidr[];
}

/** The packets that meet conditions. */
export interface Matched {
  /** The values of each dimension that the conditions look at. */
  readonly box: ReadonlyMap<Dimension, Ranges>;
  /** Whether the box may contain packets that do not meet the conditions. */
  readonly uncertain: boolean;
}

/**
 * All packets of one family, cut at every name, mark and port that conditions look at. Each dimension is a range of
 * numbers; interfaces and marks are classes that no condition tells apart.
 */
export class Space {
  readonly interfaces: InterfaceClasses;
  readonly marks: MarkClasses;
  readonly local: Ranges;
  readonly broadcast: Ranges;
  readonly multicast: Ranges;
  readonly #ranges = new WeakMap<readonly Cidr[], Ranges>();

  constructor(
    readonly family: Family,
    conditions: readonly Condition[],
    node: NodeAddresses,
    /** Whether packets may be under an IPsec policy. */
    readonly ipsec = true,
  ) {
    this.interfaces = new InterfaceClasses(conditions.flatMap(it => (it.on === "out" ? it.names : [])));
    this.marks = new MarkClasses(conditions.flatMap(it => (it.on === "mark" ? [it] : [])));
    const ofFamily = (cidrs: readonly Cidr[]) => rangesOf(cidrs.filter(it => it.family === family));
    this.local = ofFamily(node.local);
    this.multicast = ofFamily([MULTICAST[family]]);
    this.broadcast = difference(ofFamily([...BROADCAST, ...node.broadcast]), this.local);
  }

  /** All values of a dimension. */
  every(dimension: Dimension): Ranges {
    switch (dimension) {
      case "destination":
      case "source":
        return every(this.family);
      case "out":
        return [[0, this.interfaces.size - 1]];
      case "transport":
        return EVERY_TRANSPORT;
      case "mark":
        return [[0, this.marks.size - 1]];
      case "ipsec":
        return [[0, this.ipsec ? 1 : 0]];
    }
  }

  /** The packets that meet all conditions; undefined if no packet does. */
  match(conditions: readonly Condition[]): Matched | undefined {
    const box = new Map<Dimension, Ranges>();
    let uncertain = false;
    for (const it of conditions) {
      const matched = this.#matchOne(it);
      if (matched === false) return undefined;
      if (matched === undefined) uncertain = true;
      if (typeof matched !== "object") continue;
      const { on, ranges } = matched;
      const before = box.get(on);
      const both = before ? intersection(before, ranges) : ranges;
      if (both.length === 0) return undefined;
      box.set(on, both);
    }
    return { box, uncertain };
  }

  /** Whether a packet meets all conditions; undefined if it may. */
  holds(conditions: readonly Condition[], packet: readonly AddressValue[]): boolean | undefined {
    const matched = this.match(conditions);
    if (!matched) return false;
    for (const [on, ranges] of matched.box) {
      const value = packet[DIMENSIONS.indexOf(on)] ?? 0;
      if (intersection(ranges, [[value, value]]).length === 0) return false;
    }
    return matched.uncertain ? undefined : true;
  }

  /** Undefined if a condition is not understood or random. */
  #matchOne(it: Condition): boolean | undefined | { readonly on: Dimension; readonly ranges: Ranges } {
    const values = (on: Dimension, ranges: Ranges, not: boolean) => ({
      on,
      ranges: not ? difference(this.every(on), ranges) : ranges,
    });
    switch (it.on) {
      case "destination":
      case "source": {
        const { cidrs } = it;
        if (cidrs.length > 0 && !cidrs.some(cidr => cidr.family === this.family)) return false;
        return values(it.on, this.#rangesOf(cidrs), it.not);
      }
      case "family":
        return (it.family === this.family) !== it.not;
      case "local":
        return values("destination", this.local, it.not);
      case "unicast":
        return this.family === "ip" ? values("destination", this.exempt, !it.not) : undefined;
      case "multicast":
      case "broadcast":
        // For IPv6, the kernel's answer depends on its routes.
        return this.family === "ip" ? values("destination", this[it.on], it.not) : undefined;
      case "out":
        return values("out", this.interfaces.matching(it.names), it.not);
      case "protocol": {
        const ranges = protocolRanges(it.names);
        return ranges && values("transport", ranges, it.not);
      }
      case "port":
        return values("transport", portRanges(it.ports), it.not);
      case "mark": {
        const ranges = this.marks.matching(it);
        return ranges && values("mark", ranges, it.not);
      }
      case "ipsec":
        return this.ipsec ? values("ipsec", [[1, 1]], it.not) : it.not;
      default:
        return undefined;
    }
  }

  /** Destinations that no policy masquerades: the node itself, multicast and broadcast. */
  get exempt(): Ranges {
    return united([...this.local, ...this.multicast, ...this.broadcast]);
  }

  #rangesOf(cidrs: readonly Cidr[]): Ranges {
    let ranges = this.#ranges.get(cidrs);
    if (!ranges) {
      const own = cidrs.filter(cidr => cidr.family === this.family);
      ranges = own.length > 0 ? rangesOf(own) : NONE;
      this.#ranges.set(cidrs, ranges);
    }
    return ranges;
  }
}
