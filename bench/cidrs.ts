/** Returns blocks of 16 addresses inside 10.0.0.0/8. No two touch, so nothing can merge them. */
export function cidrs(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${address(i)}/28`);
}

/** Returns an address in the block of that index. */
export function addressIn(index: number): string {
  return address(index, 9);
}

/** An address in no block. */
export const OUTBOUND = "203.0.113.7";

/** The defaults of ip-masq-agent and ipmasq. */
export const DEFAULTS = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

/** Blocks are 64 addresses apart, so there is room for 262,144. */
function address(index: number, last = 0): string {
  const offset = 64 * index + last;
  return `10.${offset >> 16}.${(offset >> 8) & 255}.${offset & 255}`;
}

/** The length of a list, for people. */
export function inWords(size: number): string {
  return `${size.toLocaleString("en-US")} CIDRs`;
}

/** One sentence per baseline that failed with a list, each after a space. */
export function failures(
  all: readonly { readonly baseline: string; readonly size: number; readonly failure?: string }[],
): string {
  const failed = all.filter(({ failure }) => failure !== undefined);
  return failed.map(it => ` ${it.baseline} failed with ${inWords(it.size)}: ${it.failure}.`).join("");
}
