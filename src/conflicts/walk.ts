import type { Cidr, Family } from "../net/cidr.ts";
import { difference, every, NONE, type Ranges, rangesOf } from "../net/ranges.ts";
import type { Condition, TraceableRule } from "../net/trace.ts";
import { type Box, everything, type Region, within, without } from "./region.ts";

/** A rule that ends a connection's way through NAT, and the connections that may reach it. */
export interface Arrival {
  readonly chain: string;
  readonly rule: TraceableRule;
  /** The conditions of the rule and of the rules that lead to it. */
  readonly conditions: readonly Condition[];
  /** The chains on the way, the base chain first. */
  readonly way: readonly string[];
  readonly region: Region;
  /** False if a condition is not understood, or one of a rule before it that may end the way too. */
  readonly certain: boolean;
}

export interface WalkOptions {
  readonly family: Family;
  /** The connections that are sent on their way. */
  readonly from: Region;
  /** Whether they carry no mark, or may carry any. */
  readonly marks: "none" | "any";
  /** Chains that are not entered; a jump to one counts as a translation. */
  readonly closed: (chain: string) => boolean;
  /** What is looked for: rules that translate, or rules that end the way without doing so. */
  readonly wanted: "translations" | "exemptions";
  /** Whether the walk ends at a jump to the chain; otherwise it continues after a chain that is not entered. */
  readonly stops?: (chain: string) => boolean;
}

export interface Arrivals {
  readonly found: readonly Arrival[];
  /** False if the rules were too many to follow all of them. */
  readonly complete: boolean;
}

/** The kernel allows 16 jumps. */
const MOST_JUMPS = 16;

/**
 * The most steps of a walk: chains that lead to each other in many ways take exponential time. A rule that is handled
 * in a batch costs one step.
 */
const MOST_STEPS = 240_000;
const STEPS_OF_A_RULE = 8;

/**
 * Translated connections are removed from those that go on only up to this many ranges, since that takes time for each
 * range.
 */
const FEW_RANGES = 256;

/**
 * Follows connections through the rules from a base chain. A connection that may reach a rule counts as reaching it; a
 * connection counts as ended only if that is certain.
 */
export function walk(
  base: string,
  chains: ReadonlyMap<string, readonly TraceableRule[]>,
  options: WalkOptions,
): Arrivals {
  return new Walk(chains, options).all(base);
}

/** Where connections stand in a chain. */
interface Stand {
  /** Connections that may be here. */
  upper: Region;
  /** Connections that are certainly here, without those that may have returned from the chain. */
  lower: Region;
  /** False once a rule that is not understood may have ended the way of some. */
  certain: boolean;
}

class Walk {
  readonly #found: Arrival[] = [];
  #steps = 0;
  #stopped = false;

  constructor(
    readonly chains: ReadonlyMap<string, readonly TraceableRule[]>,
    readonly options: WalkOptions,
  ) {}

  all(base: string): Arrivals {
    const { from } = this.options;
    this.#chain(base, [], [], { upper: from, lower: from, certain: true });
    return { found: this.#found, complete: this.#steps <= MOST_STEPS };
  }

  /** Returns the connections whose way surely ended in the chain. */
  #chain(
    chain: string,
    before: readonly string[],
    conditions: readonly Condition[],
    stand: Stand,
  ): readonly Box[] {
    if (before.includes(chain) || before.length > MOST_JUMPS) return [];
    const way = [...before, chain];
    const gone: Box[] = [];
    const batch = new Batch(this, before.length === 0, stand, gone);
    for (const rule of this.chains.get(chain) ?? []) {
      if (this.#stopped || ++this.#steps > MOST_STEPS || stand.upper.length === 0) break;
      if (rule.action.does === "nothing") continue;
      if (batch.takes(rule)) continue;
      batch.flush();
      this.#steps += STEPS_OF_A_RULE;
      this.#rule(rule, way, [...conditions, ...rule.conditions], stand, gone);
    }
    batch.flush();
    return gone;
  }

  #rule(
    rule: TraceableRule,
    way: readonly string[],
    conditions: readonly Condition[],
    stand: Stand,
    gone: Box[],
  ): void {
    const { action } = rule;
    const met = this.#met(rule.conditions);
    if (!met) return;
    const region = within(stand.upper, met.box);
    if (region.length === 0) return;
    const understood = rule.conditions.every(({ on }) => on !== "unknown");
    const certain = stand.certain && conditions.every(({ on }) => on !== "unknown");
    const arrival: Arrival = { chain: way.at(-1) ?? "", rule, conditions, way, region, certain };
    const isBase = way.length === 1;
    const { wanted } = this.options;
    switch (action.does) {
      case "masquerade":
      case "snat":
        if (wanted === "translations") this.#found.push(arrival);
        if (met.surely && count(stand.upper) < FEW_RANGES) this.end(met.box, stand, gone);
        break;
      case "bind":
        if (met.surely) this.end(met.box, stand, gone);
        break;
      case "accept":
        if (wanted === "exemptions") this.#found.push(arrival);
        if (met.surely && (wanted === "translations" || count(stand.upper) < FEW_RANGES))
          this.end(met.box, stand, gone);
        stand.certain &&= understood;
        break;
      case "jump":
        this.#enter(action.to, arrival, met, stand, gone);
        break;
      case "goto":
        this.#enter(action.to, arrival, met, stand, gone);
        if (this.#stopped) break;
        if (isBase && wanted === "exemptions") this.#found.push(arrival);
        this.#leave(met, stand, isBase, gone);
        stand.certain &&= understood;
        break;
      case "return":
        if (isBase && wanted === "exemptions") this.#found.push(arrival);
        this.#leave(met, stand, isBase, gone);
        stand.certain &&= understood;
        break;
      default:
        stand.certain = false;
    }
  }

  #enter(to: string, arrival: Arrival, met: Met, stand: Stand, gone: Box[]): void {
    const { stops, closed, wanted } = this.options;
    if (stops?.(to)) this.#stopped = true;
    if (this.#stopped) return;
    if (closed(to)) {
      if (wanted === "translations") this.#found.push({ ...arrival, chain: to, way: [...arrival.way, to] });
      return;
    }
    const lower = met.surely ? within(stand.lower, met.box) : [];
    const inner: Stand = { upper: arrival.region, lower, certain: stand.certain };
    for (const box of this.#chain(to, arrival.way, arrival.conditions, inner)) this.end(box, stand, gone);
    stand.certain &&= inner.certain;
  }

  /** Removes connections whose way certainly ended: those in the box that are certainly here. */
  end(box: Box, stand: Stand, gone: Box[]): void {
    const ended = within(stand.lower, box);
    gone.push(...ended);
    this.#take(ended, stand);
    stand.lower = without(stand.lower, ended) ?? [];
  }

  /** Removes connections that return from an inner chain. */
  leave(box: Box, stand: Stand): void {
    this.#take([box], stand);
    stand.lower = without(stand.lower, [box]) ?? [];
  }

  #take(boxes: readonly Box[], stand: Stand): void {
    const left = without(stand.upper, boxes);
    stand.upper = left ?? stand.upper;
    stand.certain &&= left !== undefined;
  }

  #leave({ box, surely }: Met, stand: Stand, isBase: boolean, gone: Box[]): void {
    if (surely && isBase) this.end(box, stand, gone);
    else if (surely) this.leave(box, stand);
    else stand.lower = without(stand.lower, [box]) ?? [];
  }

  /** The connections that meet the conditions; undefined if none do. */
  #met(conditions: readonly Condition[]): Met | undefined {
    let box = everything(this.options.family);
    let surely = true;
    for (const it of conditions) {
      const met = this.#condition(it);
      if (met === false) return undefined;
      if (met === undefined) surely = false;
      else if (met !== true) box = narrowed(box, met);
    }
    return { box, surely };
  }

  /** Undefined if it is open. */
  #condition(it: Condition): boolean | undefined | Partial<Box> {
    const { family, marks } = this.options;
    switch (it.on) {
      case "destination":
      case "source": {
        if (it.cidrs.length > 0 && !it.cidrs.some(cidr => cidr.family === family)) return false;
        const ranges = selected(family, it);
        return it.on === "destination" ? { destinations: ranges } : { sources: ranges };
      }
      case "family":
        return (it.family === family) !== it.not;
      case "local":
      case "multicast":
      case "broadcast":
        return it.not; // no such connections are sent on their way
      case "ipsec":
        if (it.not) return true;
        return this.options.wanted === "exemptions" ? false : undefined; // ours exempt them too
      case "out":
        return it.names.join() === "lo" ? it.not : undefined;
      case "mark":
        return marks === "any" ? undefined : ((it.value & it.mask) === 0) !== it.not;
      default:
        return undefined;
    }
  }
}

interface Met {
  readonly box: Box;
  /** Whether all connections of the box meet the conditions. */
  readonly surely: boolean;
}

/** Caches ranges per condition, so that results derived from them can be cached too. */
const KNOWN = new WeakMap<readonly Cidr[], Ranges>();

function selected(
  family: Family,
  { cidrs, not }: { readonly cidrs: readonly Cidr[]; readonly not: boolean },
): Ranges {
  let ranges = KNOWN.get(cidrs);
  if (!ranges) {
    ranges = rangesOf(cidrs.filter(cidr => cidr.family === family));
    if (cidrs.every(cidr => cidr.family === family)) KNOWN.set(cidrs, ranges);
  }
  return not ? difference(every(family), ranges) : ranges;
}

function narrowed(box: Box, { destinations, sources }: Partial<Box>): Box {
  const [both] = within([box], {
    destinations: destinations ?? box.destinations,
    sources: sources ?? box.sources,
  });
  return both ?? { destinations: NONE, sources: NONE };
}

function count(region: Region): number {
  return region.reduce((sum, { destinations, sources }) => sum + destinations.length + sources.length, 0);
}

/**
 * Consecutive rules that spare destinations, which can be thousands: handled together, they take one pass over the
 * ranges.
 */
class Batch {
  readonly #cidrs: Cidr[] = [];
  #does = "";

  constructor(
    readonly walk: Walk,
    readonly isBase: boolean,
    readonly stand: Stand,
    readonly gone: Box[],
  ) {}

  /** Takes a rule that only ends the way, or leaves the chain, for some destinations; returns whether it did. */
  takes({ conditions, action }: TraceableRule): boolean {
    const { does } = action;
    const [only, more] = conditions;
    if (does !== "return" && does !== "accept") return false;
    if (more || only?.on !== "destination" || only.not) return false;
    if (this.walk.options.wanted === "exemptions" && (does === "accept" || this.isBase)) return false;
    if (does !== this.#does) this.flush();
    this.#does = does;
    this.#cidrs.push(...only.cidrs);
    return true;
  }

  flush(): void {
    if (this.#cidrs.length === 0) return;
    const { family } = this.walk.options;
    const destinations = rangesOf(this.#cidrs.filter(cidr => cidr.family === family));
    const box: Box = { destinations, sources: every(family) };
    if (this.#does === "return" && !this.isBase) this.walk.leave(box, this.stand);
    else this.walk.end(box, this.stand, this.gone);
    this.#cidrs.length = 0;
  }
}
