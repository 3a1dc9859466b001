import type { Cidr } from "../net/cidr.ts";
import { every, rangesOf } from "../net/ranges.ts";
import type { Condition, TraceableRule } from "../net/trace.ts";
import { type Match, type MatchOptions, match } from "./match.ts";
import { type Box, type Region, within, without } from "./region.ts";

/** A rule that ends NAT for a connection, and the connections that may reach it. */
export interface Arrival {
  readonly chain: string;
  readonly rule: TraceableRule;
  /** The conditions of the rule and of the jumps that lead to it. */
  readonly conditions: readonly Condition[];
  /** The chains from the base chain to that of the rule. */
  readonly way: readonly string[];
  readonly region: Region;
  /** False if a condition on the path, or of an earlier rule that may end NAT, is not understood. */
  readonly certain: boolean;
}

export interface WalkOptions extends MatchOptions {
  /** The connections at the start of the base chain. */
  readonly from: Region;
  /** Whether the walk does not enter a chain. A jump to such a chain counts as a translation. */
  readonly closed: (chain: string) => boolean;
  /** Whether the walk ends at a jump to a chain. By default, the walk continues after chains that it does not enter. */
  readonly stops?: (chain: string) => boolean;
}

export interface Arrivals {
  readonly found: readonly Arrival[];
  /** False if there were too many rules to follow all of them. */
  readonly complete: boolean;
}

/** The kernel allows 16 jumps. */
const MOST_JUMPS = 16;

/**
 * The maximum number of steps of a walk. Without a limit, chains that lead to each other in many ways would take
 * exponential time. A rule in a batch takes one step, any other rule takes more.
 */
const MOST_STEPS = 240_000;
const STEPS_PER_RULE = 8;

/** Translated connections are removed from the rest only up to this many ranges: each range takes time. */
const FEW_RANGES = 256;

/**
 * Follows connections through the rules from a base chain. If a connection may reach a rule, it counts as reaching it.
 * NAT counts as ended only if that is certain.
 */
export function walk(
  base: string,
  chains: ReadonlyMap<string, readonly TraceableRule[]>,
  options: WalkOptions,
): Arrivals {
  return new Walk(chains, options).all(base);
}

/** The connections at one point of a chain. */
interface Position {
  /** Connections that may be here. */
  upper: Region;
  /** Connections that are certainly here, because they cannot have returned from the chain. */
  lower: Region;
  /** False once a rule that is not understood may have ended NAT for some connections. */
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

  /** Walks a chain. Returns the connections for which NAT certainly ended in that chain. */
  #chain(
    chain: string,
    before: readonly string[],
    conditions: readonly Condition[],
    position: Position,
  ): readonly Box[] {
    if (before.includes(chain) || before.length > MOST_JUMPS) return [];
    const way = [...before, chain];
    const ended: Box[] = [];
    const batch = new Batch(this, before.length === 0, position, ended);
    for (const rule of this.chains.get(chain) ?? []) {
      if (this.#stopped || ++this.#steps > MOST_STEPS || position.upper.length === 0) break;
      if (rule.action.does === "nothing") continue;
      if (batch.takes(rule)) continue;
      batch.flush();
      this.#steps += STEPS_PER_RULE;
      this.#rule(rule, way, [...conditions, ...rule.conditions], position, ended);
    }
    batch.flush();
    return ended;
  }

  #rule(
    rule: TraceableRule,
    way: readonly string[],
    conditions: readonly Condition[],
    position: Position,
    ended: Box[],
  ): void {
    const { action } = rule;
    const matched = match(rule.conditions, this.options);
    if (!matched) return;
    const region = within(position.upper, matched.box);
    if (region.length === 0) return;
    const understood = rule.conditions.every(({ on }) => on !== "unknown");
    const certain = position.certain && conditions.every(({ on }) => on !== "unknown");
    const arrival: Arrival = { chain: way.at(-1) ?? "", rule, conditions, way, region, certain };
    const isBase = way.length === 1;
    const { find } = this.options;
    switch (action.does) {
      case "masquerade":
      case "snat":
        if (find === "translations") this.#found.push(arrival);
        if (matched.certain && count(position.upper) < FEW_RANGES) this.end(matched.box, position, ended);
        break;
      case "bind":
        if (matched.certain) this.end(matched.box, position, ended);
        break;
      case "accept":
        if (find === "exemptions") this.#found.push(arrival);
        if (matched.certain && (find === "translations" || count(position.upper) < FEW_RANGES))
          this.end(matched.box, position, ended);
        position.certain &&= understood;
        break;
      case "jump":
        this.#enter(action.to, arrival, matched, position, ended);
        break;
      case "goto":
        this.#enter(action.to, arrival, matched, position, ended);
        if (this.#stopped) break;
        if (isBase && find === "exemptions") this.#found.push(arrival);
        this.#return(matched, position, isBase, ended);
        position.certain &&= understood;
        break;
      case "return":
        if (isBase && find === "exemptions") this.#found.push(arrival);
        this.#return(matched, position, isBase, ended);
        position.certain &&= understood;
        break;
      default:
        position.certain = false;
    }
  }

  #enter(to: string, arrival: Arrival, matched: Match, position: Position, ended: Box[]): void {
    const { stops, closed, find } = this.options;
    if (stops?.(to)) this.#stopped = true;
    if (this.#stopped) return;
    if (closed(to)) {
      if (find === "translations") this.#found.push({ ...arrival, chain: to, way: [...arrival.way, to] });
      return;
    }
    const lower = matched.certain ? within(position.lower, matched.box) : [];
    const inner: Position = { upper: arrival.region, lower, certain: position.certain };
    for (const box of this.#chain(to, arrival.way, arrival.conditions, inner)) this.end(box, position, ended);
    position.certain &&= inner.certain;
  }

  /** Ends NAT for connections in the box that are certainly here. */
  end(box: Box, position: Position, ended: Box[]): void {
    const boxes = within(position.lower, box);
    ended.push(...boxes);
    this.#remove(boxes, position);
    position.lower = without(position.lower, boxes) ?? [];
  }

  /** Removes connections that return from an inner chain. */
  leave(box: Box, position: Position): void {
    this.#remove([box], position);
    position.lower = without(position.lower, [box]) ?? [];
  }

  #remove(boxes: readonly Box[], position: Position): void {
    const left = without(position.upper, boxes);
    position.upper = left ?? position.upper;
    position.certain &&= left !== undefined;
  }

  #return({ box, certain }: Match, position: Position, isBase: boolean, ended: Box[]): void {
    if (certain && isBase) this.end(box, position, ended);
    else if (certain) this.leave(box, position);
    else position.lower = without(position.lower, [box]) ?? [];
  }
}

function count(region: Region): number {
  return region.reduce((sum, { destinations, sources }) => sum + destinations.length + sources.length, 0);
}

/**
 * Consecutive rules that exempt destinations. There can be thousands of these rules. Handled together, they take one
 * pass over the ranges.
 */
class Batch {
  readonly #cidrs: Cidr[] = [];
  #does = "";

  constructor(
    readonly walk: Walk,
    readonly isBase: boolean,
    readonly position: Position,
    readonly ended: Box[],
  ) {}

  /** Takes a rule whose only condition is a destination, and that ends NAT or leaves the chain. */
  takes({ conditions, action }: TraceableRule): boolean {
    const { does } = action;
    const [only, more] = conditions;
    if (does !== "return" && does !== "accept") return false;
    if (more || only?.on !== "destination" || only.not) return false;
    if (this.walk.options.find === "exemptions" && (does === "accept" || this.isBase)) return false;
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
    if (this.#does === "return" && !this.isBase) this.walk.leave(box, this.position);
    else this.walk.end(box, this.position, this.ended);
    this.#cidrs.length = 0;
  }
}
