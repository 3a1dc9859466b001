import { type Address, type AddressValue, BITS, Cidr, canonicalAddress, type Family } from "./cidr.ts";

/** Addresses of one family as ranges, ascending, disjoint and not adjacent. */
export type Ranges = readonly Range[];
type Range = readonly [first: AddressValue, last: AddressValue];

export const NONE: Ranges = [];

const EVERY: Readonly<Record<Family, Ranges>> = {
  ip: [[0, 2 ** BITS.ip - 1]],
  ip6: [[0n, 2n ** BigInt(BITS.ip6) - 1n]],
};

/** All addresses of a family. */
export function every(family: Family): Ranges {
  return EVERY[family];
}

/** The addresses of CIDRs of one family. */
export function rangesOf(cidrs: readonly Cidr[]): Ranges {
  return united(cidrs.map(({ first, last }) => [first, last]));
}

/** The addresses of ranges, which may overlap and have any order. Takes linear time if they are in ascending order. */
export function united(ranges: readonly Range[]): Ranges {
  const isAscending = ranges.every(([first], i) => first >= (ranges[i - 1]?.[0] ?? first));
  const sorted = isAscending ? ranges : ranges.toSorted((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  const result: [AddressValue, AddressValue][] = [];
  for (const [first, last] of sorted) {
    const before = result.at(-1);
    if (before && first <= plus(before[1], 1)) {
      if (last > before[1]) before[1] = last;
    } else result.push([first, last]);
  }
  return result;
}

/** The addresses in both lists. Takes linear time. */
export function intersection(some: Ranges, others: Ranges): Ranges {
  const result: Range[] = [];
  for (let i = 0, j = 0; ; ) {
    const a = some[i];
    const b = others[j];
    if (!a || !b) return result;
    const aEndsFirst = a[1] < b[1];
    const [first] = a[0] < b[0] ? b : a;
    const [, last] = aEndsFirst ? a : b;
    if (first <= last) result.push([first, last]);
    if (aEndsFirst) i++;
    else j++;
  }
}

/** The addresses in the first list but not in the second. Takes linear time. */
export function difference(some: Ranges, others: Ranges): Ranges {
  const result: Range[] = [];
  let j = 0;
  for (const [first, last] of some) {
    let from = first;
    for (let b = others[j]; b && b[0] <= last; b = others[j]) {
      if (b[0] > from) result.push([from, plus(b[0], -1)]);
      if (b[1] >= from) from = plus(b[1], 1);
      if (b[1] > last) break;
      j++;
    }
    if (from <= last) result.push([from, last]);
  }
  return result;
}

/** Whether an address of the first list is not in the second. Usually takes logarithmic time. */
export function hasOutside(some: Ranges, others: Ranges): boolean {
  return some.some(([first, last]) => {
    for (let from = first; from <= last; ) {
      const around = others[at(others, from)];
      if (!around || around[0] > from) return true;
      from = plus(around[1], 1);
    }
    return false;
  });
}

/** The index of the first range that ends at or after an address. */
function at(ranges: Ranges, address: AddressValue): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const [, end = address] = ranges[middle] ?? [];
    if (end < address) low = middle + 1;
    else high = middle;
  }
  return low;
}

function plus(value: AddressValue, step: 1 | -1): AddressValue {
  return typeof value === "number" ? value + step : value + BigInt(step);
}

/** The fewest CIDRs that together are a range of addresses. */
export function cidrsBetween(family: Family, first: AddressValue, last: AddressValue): Cidr[] {
  const cidrs: Cidr[] = [];
  const end = BigInt(last);
  for (let from = BigInt(first); from <= end; ) {
    let size = 0n;
    while (
      size < BigInt(BITS[family]) &&
      (from & ((2n << size) - 1n)) === 0n &&
      from + (2n << size) - 1n <= end
    )
      size++;
    cidrs.push(Cidr.literal(`${addressText(family, from)}/${BITS[family] - Number(size)}`));
    from += 1n << size;
  }
  return cidrs;
}

/** An address in text that {@link Cidr} accepts; IPv6 in its long form. */
function addressText(family: Family, value: bigint): string {
  if (family === "ip") return [24n, 16n, 8n, 0n].map(shift => (value >> shift) & 255n).join(".");
  const digits = value.toString(16).padStart(32, "0");
  return digits.replace(/.{4}(?!$)/g, "$&:");
}

/** The address with a value, in canonical text. */
export function addressOf(family: Family, value: AddressValue): Address {
  const text = addressText(family, BigInt(value));
  return { family, value, text: family === "ip" ? text : canonicalAddress(text) };
}
