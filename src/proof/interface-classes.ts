import { type Ranges, united } from "../net/ranges.ts";

/**
 * Interface names in classes that no pattern tells apart. A class is one name, or all other names with a prefix. The
 * class of the prefix "" has all names that no pattern matches.
 */
export class InterfaceClasses {
  readonly #classes: readonly string[];
  readonly #places: ReadonlyMap<string, number>;
  readonly #known = new Map<string, Ranges>();

  /** @param patterns names, and prefixes that end with `*` */
  constructor(patterns: readonly string[]) {
    this.#classes = [...new Set(["*", LOOPBACK, ...patterns])];
    this.#places = new Map(this.#classes.map((it, i) => [it, i]));
  }

  get size(): number {
    return this.#classes.length;
  }

  /** The number of a class, by its name or pattern. */
  placeOf(pattern: string): number | undefined {
    return this.#places.get(pattern);
  }

  /** The class of the loopback interface. */
  get loopback(): Ranges {
    return this.matching([LOOPBACK]);
  }

  /** The classes whose names match one of the patterns. */
  matching(patterns: readonly string[]): Ranges {
    const key = patterns.join("\n");
    let ranges = this.#known.get(key);
    if (!ranges) {
      ranges = united(patterns.flatMap(pattern => this.#covered(pattern)).map(i => [i, i]));
      this.#known.set(key, ranges);
    }
    return ranges;
  }

  #covered(pattern: string): number[] {
    if (!pattern.endsWith("*")) return [this.#places.get(pattern) ?? []].flat();
    const prefix = pattern.slice(0, -1);
    return this.#classes.flatMap((it, i) => (it.replace(/\*$/, "").startsWith(prefix) ? i : []));
  }

  /**
   * The classes in words: names, and prefixes that end with `*`. If they include all other names, the names that are
   * left out, with `!`. The loopback interface, which serves only the node itself, is not named then.
   */
  names(ranges: Ranges): string[] {
    const isIn = (i: number) => ranges.some(([first, last]) => first <= i && i <= last);
    if (!isIn(0)) return this.#classes.filter((_, i) => isIn(i));
    return this.#classes.filter((it, i) => !isIn(i) && it !== LOOPBACK).map(it => `!${it}`);
  }
}

/** Packets leave by it only to the node itself. */
const LOOPBACK = "lo";
