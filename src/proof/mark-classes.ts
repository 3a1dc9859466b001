import { type Ranges, united } from "../net/ranges.ts";

/** A comparison of a packet's mark. */
interface MarkMatch {
  readonly value: number;
  readonly mask: number;
}

/** More comparisons would make too many classes. */
const MOST_MATCHES = 10;

/**
 * Marks in classes that no comparison tells apart. Class 0 has the mark 0, which packets have unless another program
 * marks them. Comparisons beyond the first ten are not understood.
 */
export class MarkClasses {
  readonly #matches: readonly MarkMatch[];
  /** The comparisons that hold for the marks of each class, as bits. */
  readonly #classes: readonly number[];

  constructor(matches: readonly MarkMatch[]) {
    const possible = matches.filter(({ value, mask }) => (value & ~mask) === 0);
    const distinct = new Map(possible.map(it => [textOf(it), normal(it)]));
    this.#matches = [...distinct.values()].slice(0, MOST_MATCHES);
    const zero = this.#signature(0);
    const all = Array.from({ length: 2 ** this.#matches.length }, (_, i) => i);
    this.#classes = [zero, ...all.filter(it => it !== zero && this.#exists(it))];
  }

  get size(): number {
    return this.#classes.length;
  }

  /** The classes whose marks meet the comparison; undefined if it is not understood. */
  matching(match: MarkMatch): Ranges | undefined {
    if ((match.value & ~match.mask) !== 0) return [];
    const at = this.#matches.findIndex(it => textOf(it) === textOf(match));
    if (at < 0) return undefined;
    return united(this.#classes.flatMap((it, i) => (it & (1 << at) ? [[i, i]] : [])));
  }

  /** The classes of packets that no other comparison tells from packets without a mark. */
  onlyWith(matches: readonly MarkMatch[]): Ranges {
    const texts = new Set(matches.map(textOf));
    const ignored = this.#matches.reduce(
      (bits, it, i) => (texts.has(textOf(it)) ? bits | (1 << i) : bits),
      0,
    );
    const [zero = 0] = this.#classes;
    return united(this.#classes.flatMap((it, i) => ((it & ~ignored) === (zero & ~ignored) ? [[i, i]] : [])));
  }

  /**
   * The classes in words: the bits that are set. If they include packets without a mark, the classes that are left out,
   * with `!`.
   */
  names(ranges: Ranges): string[] {
    const isIn = (i: number) => ranges.some(([first, last]) => first <= i && i <= last);
    const includesUnmarked = isIn(0);
    return this.#classes.flatMap((it, i) => {
      if (isIn(i) === includesUnmarked) return [];
      return `${includesUnmarked ? "!" : ""}${this.#nameOf(it)}`;
    });
  }

  #nameOf(signature: number): string {
    const set = this.#matches.flatMap((match, i) => {
      const holds = (signature & (1 << i)) !== 0;
      if (match.value !== 0) return holds ? textOf(match) : [];
      return holds ? [] : textOf({ ...match, value: match.mask });
    });
    return set.join(" and ") || "other";
  }

  #signature(mark: number): number {
    return this.#matches.reduce(
      (bits, { value, mask }, i) => ((mark & mask) === value ? bits | (1 << i) : bits),
      0,
    );
  }

  /** Whether a mark exists for which exactly these comparisons hold. */
  #exists(signature: number): boolean {
    let value = 0;
    let mask = 0;
    const refused: MarkMatch[] = [];
    for (const [i, it] of this.#matches.entries()) {
      if ((signature & (1 << i)) === 0) refused.push(it);
      else if (((value ^ it.value) & mask & it.mask) !== 0) return false;
      else {
        value |= it.value;
        mask |= it.mask;
      }
    }
    return avoids(value, mask, refused);
  }
}

/** Whether a mark whose bits in `mask` equal `value` can differ from all refused comparisons. */
function avoids(value: number, mask: number, [first, ...others]: readonly MarkMatch[]): boolean {
  if (!first) return true;
  if (((value ^ first.value) & mask & first.mask) !== 0) return avoids(value, mask, others);
  for (let bit = 0; bit < 32; bit++) {
    const free = 1 << bit;
    if ((first.mask & ~mask & free) === 0) continue;
    if (avoids(value | (~first.value & free), mask | free, others)) return true;
  }
  return false;
}

function normal({ value, mask }: MarkMatch): MarkMatch {
  return { value: value | 0, mask: mask | 0 };
}

function textOf({ value, mask }: MarkMatch): string {
  const hex = (bits: number) => `0x${(bits >>> 0).toString(16)}`;
  return `${hex(value)}/${hex(mask)}`;
}
