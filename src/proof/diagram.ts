import type { AddressValue } from "../net/cidr.ts";
import type { Ranges } from "../net/ranges.ts";

/**
 * A function from packets to numbers, as a decision diagram: each branch looks at one dimension of the packet, such as
 * its destination, and dimensions come in ascending order. Equal functions of one {@link Diagrams} are the same object.
 */
export type Diagram = Leaf | Branch;

export interface Leaf {
  readonly id: number;
  readonly value: number;
}

export interface Branch {
  readonly id: number;
  readonly on: number;
  /** The last value of each interval, ascending. The last interval ends with the largest value of the dimension. */
  readonly ends: readonly AddressValue[];
  readonly next: readonly Diagram[];
}

/** The value of a function for one packet. */
export function valueAt(diagram: Diagram, packet: readonly AddressValue[]): number {
  let at = diagram;
  while (!("value" in at)) {
    const { ends, next, on } = at;
    const value = packet[on] ?? 0;
    let low = 0;
    let high = ends.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((ends[middle] ?? 0) < value) low = middle + 1;
      else high = middle;
    }
    at = next[low] ?? NOWHERE;
  }
  return at.value;
}

export const NOWHERE: Leaf = { id: -1, value: 0 };

/** Intervals of one dimension that lead to the same diagram. */
export interface Step {
  readonly to: Diagram;
  readonly ranges: Ranges;
}

/** The distinct diagrams below a branch, with the intervals that lead there. */
export function stepsOf({ ends, next }: Branch, first: AddressValue): Step[] {
  const found = new Map<Diagram, [AddressValue, AddressValue][]>();
  let from = first;
  ends.forEach((end, i) => {
    const to = next[i] ?? NOWHERE;
    const ranges = found.get(to);
    if (ranges) ranges.push([from, end]);
    else found.set(to, [[from, end]]);
    from = typeof end === "number" ? end + 1 : end + 1n;
  });
  return [...found].map(([to, ranges]) => ({ to, ranges }));
}

/** The number of pieces into which a diagram cuts all packets, counting the leaves with a value that `counts`. */
export function countPieces(
  diagram: Diagram,
  counts: (value: number) => boolean,
  known = new Map<Diagram, number>(),
): number {
  const count = (at: Diagram): number => {
    if ("value" in at) return counts(at.value) ? 1 : 0;
    let sum = known.get(at);
    if (sum === undefined) {
      sum = at.next.reduce((total, it) => total + count(it), 0);
      known.set(at, sum);
    }
    return sum;
  };
  return count(diagram);
}
