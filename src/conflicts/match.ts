import type { Cidr, Family } from "../net/cidr.ts";
import { difference, every, NONE, type Ranges, rangesOf } from "../net/ranges.ts";
import type { Condition } from "../net/trace.ts";
import { type Box, everything, within } from "./region.ts";

/** How conditions are evaluated. */
export interface MatchOptions {
  readonly family: Family;
  /** Whether packets carry no mark, or may carry any. */
  readonly marks: "none" | "any";
  /** The kind of rules to find: rules that translate, or rules that end NAT without translating. */
  readonly find: "translations" | "exemptions";
}

/** The connections that meet conditions. */
export interface Match {
  /** Contains every connection that may meet the conditions. */
  readonly box: Box;
  /** Whether every connection in the box meets them. */
  readonly certain: boolean;
}

/** Returns the connections that meet all conditions; undefined if no connection does. */
export function match(conditions: readonly Condition[], options: MatchOptions): Match | undefined {
  let box = everything(options.family);
  let certain = true;
  for (const it of conditions) {
    const matched = matchOne(it, options);
    if (matched === false) return undefined;
    if (matched === undefined) certain = false;
    else if (matched !== true) box = narrowed(box, matched);
  }
  return { box, certain };
}

/** Undefined if the condition may or may not hold. */
function matchOne(
  condition: Condition,
  { family, marks, find }: MatchOptions,
): boolean | undefined | Partial<Box> {
  switch (condition.on) {
    case "destination":
    case "source": {
      const { cidrs } = condition;
      if (cidrs.length > 0 && !cidrs.some(cidr => cidr.family === family)) return false;
      const ranges = rangesFor(family, condition);
      return condition.on === "destination" ? { destinations: ranges } : { sources: ranges };
    }
    case "family":
      return (condition.family === family) !== condition.not;
    case "local":
    case "multicast":
    case "broadcast":
      return condition.not; // the policy never masquerades such connections
    case "unicast":
      return !condition.not;
    case "ipsec":
      if (condition.not) return true;
      return find === "exemptions" ? false : undefined; // our rules also exempt them
    case "out":
      return condition.names.join() === "lo" ? condition.not : undefined;
    case "mark":
      return marks === "any" ? undefined : ((condition.value & condition.mask) === 0) !== condition.not;
    default:
      return undefined;
  }
}

/** Caches ranges by list of CIDRs: results derived from the same object can also be cached. */
const RANGES = new WeakMap<readonly Cidr[], Ranges>();

function rangesFor(
  family: Family,
  { cidrs, not }: { readonly cidrs: readonly Cidr[]; readonly not: boolean },
): Ranges {
  let ranges = RANGES.get(cidrs);
  if (!ranges) {
    ranges = rangesOf(cidrs.filter(cidr => cidr.family === family));
    if (cidrs.every(cidr => cidr.family === family)) RANGES.set(cidrs, ranges);
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
