/** So many blocks of 16 addresses inside of 10.0.0.0/8, of which no two touch, so that nobody can merge them. */
export function cidrs(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${address(i)}/28`);
}

/** An address in the block of that number. */
export function addressIn(number: number): string {
  return address(number, 9);
}

/** An address in no block. */
export const OUTBOUND = "203.0.113.7";

/** Blocks lie 64 addresses apart: there is room for 262,144. */
function address(number: number, last = 0): string {
  const offset = 64 * number + last;
  return `10.${offset >> 16}.${(offset >> 8) & 255}.${offset & 255}`;
}

/** The length of a list, for people. */
export function inWords(size: number): string {
  return `${size.toLocaleString("en-US")} CIDRs`;
}

/** A sentence for each baseline that failed with a list. */
export function shortfalls(
  all: readonly { readonly baseline: string; readonly size: number; readonly failure?: string }[],
): string[] {
  return all.flatMap(({ baseline, size, failure }) =>
    failure === undefined ? [] : [`${baseline} does not get there with ${inWords(size)}: ${failure}.`],
  );
}
