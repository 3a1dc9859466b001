import type { AddressValue } from "../net/cidr.ts";
import type { Ranges } from "../net/ranges.ts";
import { type Branch, type Diagram, type Leaf, NOWHERE } from "./diagram.ts";

/** The functions need too much memory. */
export class TooLargeError extends Error {
  override readonly name = "TooLargeError";
}

/** Combines two values. The result may depend only on the values. */
export interface Operation {
  readonly of: (a: number, b: number) => number;
  /** The function that is the result, if its choice depends only on the first value; otherwise undefined. */
  readonly shortcut?: (a: number) => "first" | "second" | undefined;
  readonly memo: Map<number, Diagram>;
}

/** Makes an operation that remembers its results. */
export function operation(of: Operation["of"], shortcut?: Operation["shortcut"]): Operation {
  return { of, ...(shortcut && { shortcut }), memo: new Map() };
}

/** Intervals in all branches together. 4 million take about 500 MB. */
const MOST_INTERVALS = 3_000_000;
/** Ids are smaller, so that a pair of ids is one exact number. */
const MOST_IDS = 2 ** 26;

/** Makes diagrams, each distinct diagram once. Throws TooLargeError beyond a limit. */
export class Diagrams {
  readonly #leaves = new Map<number, Leaf>();
  readonly #branches = new Map<string, Branch>();
  #ids = 0;
  #intervals = 0;

  leaf(value: number): Diagram {
    let leaf = this.#leaves.get(value);
    if (!leaf) {
      leaf = { id: this.#id(), value };
      this.#leaves.set(value, leaf);
    }
    return leaf;
  }

  /**
   * A function that looks at one dimension: `inside` the ranges, `outside` elsewhere.
   *
   * @param every all values of the dimension
   */
  split(on: number, every: Ranges, ranges: Ranges, inside: Diagram, outside: Diagram): Diagram {
    const [first, last] = every[0] ?? [0, 0];
    const ends: AddressValue[] = [];
    const next: Diagram[] = [];
    let from = first;
    for (const [start, end] of ranges) {
      if (start > from) {
        ends.push(plus(start, -1));
        next.push(outside);
      }
      ends.push(end);
      next.push(inside);
      from = plus(end, 1);
    }
    if (from <= last) {
      ends.push(last);
      next.push(outside);
    }
    return this.#branch(on, ends, next);
  }

  /** Applies an operation to the values of two functions. */
  combine(a: Diagram, b: Diagram, operation: Operation): Diagram {
    if ("value" in a) {
      const which = operation.shortcut?.(a.value);
      if (which === "first") return a;
      if (which === "second") return b;
      if ("value" in b) return this.leaf(operation.of(a.value, b.value));
    }
    const key = a.id * MOST_IDS + b.id;
    const known = operation.memo.get(key);
    if (known) return known;
    const result = this.#combined(a, b, operation);
    operation.memo.set(key, result);
    return result;
  }

  #combined(a: Diagram, b: Diagram, operation: Operation): Diagram {
    const onA = "on" in a ? a.on : Number.POSITIVE_INFINITY;
    const onB = "on" in b ? b.on : Number.POSITIVE_INFINITY;
    if (onA < onB && "on" in a) {
      return this.#branch(
        a.on,
        a.ends,
        a.next.map(it => this.combine(it, b, operation)),
      );
    }
    if (onB < onA && "on" in b) {
      return this.#branch(
        b.on,
        b.ends,
        b.next.map(it => this.combine(a, it, operation)),
      );
    }
    if (!("on" in a && "on" in b)) return a;
    const ends: AddressValue[] = [];
    const next: Diagram[] = [];
    for (let i = 0, j = 0; i < a.ends.length && j < b.ends.length; ) {
      const [endA = 0, endB = 0] = [a.ends[i], b.ends[j]];
      const [nextA = NOWHERE, nextB = NOWHERE] = [a.next[i], b.next[j]];
      next.push(this.combine(nextA, nextB, operation));
      const isFirst = endA <= endB;
      ends.push(isFirst ? endA : endB);
      if (isFirst) i++;
      if (endB <= endA) j++;
    }
    return this.#branch(a.on, ends, next);
  }

  /** Replaces each value of a function. */
  map(diagram: Diagram, of: (value: number) => number, known = new Map<Diagram, Diagram>()): Diagram {
    if ("value" in diagram) return this.leaf(of(diagram.value));
    let result = known.get(diagram);
    if (!result) {
      const { on, ends, next } = diagram;
      result = this.#branch(
        on,
        ends,
        next.map(it => this.map(it, of, known)),
      );
      known.set(diagram, result);
    }
    return result;
  }

  /** Removes a dimension: combines the results for all its values by `or`. */
  forget(diagram: Diagram, dimension: number, or: Operation, known = new Map<Diagram, Diagram>()): Diagram {
    if ("value" in diagram || diagram.on > dimension) return diagram;
    let result = known.get(diagram);
    if (!result) {
      const { on, ends, next } = diagram;
      const [first = NOWHERE, ...others] = next;
      result =
        on === dimension
          ? others.reduce((all, it) => this.combine(all, it, or), first)
          : this.#branch(
              on,
              ends,
              next.map(it => this.forget(it, dimension, or, known)),
            );
      known.set(diagram, result);
    }
    return result;
  }

  #branch(on: number, allEnds: readonly AddressValue[], allNext: readonly Diagram[]): Diagram {
    const ends: AddressValue[] = [];
    const next: Diagram[] = [];
    allNext.forEach((it, i) => {
      const end = allEnds[i] ?? 0;
      if (next.at(-1) === it) ends[ends.length - 1] = end;
      else {
        ends.push(end);
        next.push(it);
      }
    });
    const [only] = next;
    if (only && next.length === 1) return only;
    const key = `${on} ${ends.join()} ${next.map(it => it.id).join()}`;
    const known = this.#branches.get(key);
    if (known) return known;
    this.#intervals += ends.length;
    if (this.#intervals > MOST_INTERVALS) throw new TooLargeError("too many combinations of rules");
    const branch: Branch = { id: this.#id(), on, ends, next };
    this.#branches.set(key, branch);
    return branch;
  }

  #id(): number {
    if (this.#ids >= MOST_IDS) throw new TooLargeError("too many combinations of rules");
    return this.#ids++;
  }
}

function plus(value: AddressValue, step: 1 | -1): AddressValue {
  return typeof value === "number" ? value + step : value + BigInt(step);
}
