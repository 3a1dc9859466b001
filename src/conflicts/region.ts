import type { Family } from "../net/cidr.ts";
import { difference, every, intersection, NONE, type Ranges } from "../net/ranges.ts";

/** Connections of one family from any of the sources to any of the destinations. */
export interface Box {
  readonly destinations: Ranges;
  readonly sources: Ranges;
}

/** Connections of one family that are in any of the boxes. */
export type Region = readonly Box[];

/** The maximum number of boxes in a region. Removing a box may add another box; real rulesets need few boxes. */
const MOST_BOXES = 64;

/** Returns all connections of a family. */
export function everything(family: Family): Box {
  return { destinations: every(family), sources: every(family) };
}

/** Returns the part of a region inside a box. */
export function within(region: Region, box: Box): Region {
  return region.map(it => common(it, box)).filter(isFull);
}

/** Returns the part of a region outside the boxes; undefined if that takes too many boxes. */
export function without(region: Region, boxes: readonly Box[]): Region | undefined {
  let left = region;
  for (const box of boxes) {
    left = left.flatMap(it => parts(it, box));
    if (left.length > MOST_BOXES) return undefined;
  }
  return left;
}

function common(one: Box, other: Box): Box {
  return {
    destinations: meet(one.destinations, other.destinations),
    sources: meet(one.sources, other.sources),
  };
}

/** Returns the same object if nothing is removed, so that results derived from it can be cached. */
function meet(some: Ranges, others: Ranges): Ranges {
  if (some === others || isEvery(others)) return some;
  return isEvery(some) ? others : intersection(some, others);
}

function isEvery(ranges: Ranges): boolean {
  return ranges === every("ip") || ranges === every("ip6");
}

function parts(it: Box, box: Box): Box[] {
  const both = common(it, box);
  if (!isFull(both)) return [it];
  const destinations =
    both.destinations === it.destinations ? NONE : difference(it.destinations, box.destinations);
  const sources = both.sources === it.sources ? NONE : difference(it.sources, box.sources);
  return [
    { destinations, sources: it.sources },
    { destinations: both.destinations, sources },
  ].filter(isFull);
}

function isFull({ destinations, sources }: Box): boolean {
  return destinations.length > 0 && sources.length > 0;
}
