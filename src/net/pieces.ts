import { type AddressValue, BITS, type Cidr, type Family } from "./cidr.ts";

/** The addresses of a family, cut into pieces at both ends of CIDRs. */
export class Pieces {
  /** The first address of each piece, ascending. */
  readonly #starts: readonly AddressValue[];

  /** @param cidrs CIDRs of any family, in any order */
  constructor(family: Family, cidrs: Iterable<Cidr>) {
    const starts = new Set<AddressValue>([family === "ip" ? 0 : 0n]);
    const end = family === "ip" ? 2 ** BITS.ip : 1n << BigInt(BITS.ip6);
    for (const cidr of cidrs) {
      if (cidr.family !== family) continue;
      const after = typeof cidr.last === "number" ? cidr.last + 1 : cidr.last + 1n;
      starts.add(cidr.first);
      if (after < end) starts.add(after);
    }
    this.#starts = [...starts].sort((a, b) => (a < b ? -1 : 1));
  }

  /** The number of pieces. */
  get count(): number {
    return this.#starts.length;
  }

  /** The number of the piece that contains an address. Takes logarithmic time. */
  at(address: AddressValue): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      const start = this.#starts[middle];
      if (start !== undefined && start <= address) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
