import type { ParseFailure } from "./parse-failure.ts";

/** Ports from `first` to `last`, inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** The number of ports in all ranges. */
export function portCount(ranges: readonly PortRange[]): number {
  return ranges.reduce((sum, range) => sum + range.last - range.first + 1, 0);
}

/** Formats ranges as in `1024-29999,32768`. */
export function formatPortRanges(ranges: readonly PortRange[]): string {
  return ranges.map(formatPortRange).join(",");
}

/**
 * Parses a list of ports from 1 to 65535, as in `1024-29999,32768-65535`. Returns ranges in ascending order. Overlapping
 * ranges are merged, since ip-masq-agent accepts them.
 */
export function parsePortRanges(text: string): readonly PortRange[] | ParseFailure {
  const ranges: PortRange[] = [];
  for (const part of text.split(",")) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (!match || first < 1 || last > 65535) {
      return {
        what: `"${part}" is not a port or port range`,
        remedy: 'write ports from 1 to 65535, for example "1024-29999,32768-65535"',
      };
    }
    if (first > last) {
      return { what: `"${part}" ends before it starts`, remedy: `did you mean "${last}-${first}"?` };
    }
    ranges.push({ first, last });
  }
  ranges.sort((a, b) => a.first - b.first);
  const disjoint: PortRange[] = [];
  for (const range of ranges) {
    const before = disjoint.at(-1);
    if (before && range.first <= before.last) {
      disjoint[disjoint.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
    } else disjoint.push(range);
  }
  return disjoint;
}

/** Formats `1024-29999`, or `8080` for a single port. */
export function formatPortRange({ first, last }: PortRange): string {
  return first === last ? `${first}` : `${first}-${last}`;
}
