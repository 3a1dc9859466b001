import { printable } from "../system/printable.ts";

/** A part of a terminal: lines and columns. Infinity if there is no limit. */
export interface Room {
  readonly width: number;
  readonly height: number;
}

export const UNLIMITED: Room = { width: Number.POSITIVE_INFINITY, height: Number.POSITIVE_INFINITY };

/** The shape of a table. */
export interface Shape {
  /** The columns that are aligned to the right. */
  readonly numbers: readonly number[];
  /**
   * The columns that may be cut to fit the width, in this order, with the width that remains. A column that may become 0
   * is left out if it would be too narrow to read.
   */
  readonly narrow?: readonly (readonly [column: number, least: number])[];
  readonly width?: number;
}

/** Rows of a long list: on something other than a terminal, and if the terminal has no room for more. */
export const MOST_ROWS = 40;
export const LEAST_ROWS = 3;

/** The rows with the most connections, in their order. */
export function busiest<Row>(
  rows: readonly Row[],
  most: number,
  connections: (row: Row) => number,
): readonly Row[] {
  if (rows.length <= most) return rows;
  const best = new Set(rows.toSorted((a, b) => connections(b) - connections(a)).slice(0, most));
  return rows.filter(it => best.has(it));
}

const GAP = "  ";
const LEAST_READABLE = 8;

/** Returns columns like kubectl, without control characters. */
export function columns(
  texts: readonly (readonly string[])[],
  { numbers, narrow = [], width = UNLIMITED.width }: Shape,
): string[] {
  const rows = texts.map(row => row.map(printable));
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, i) => Math.max(cell.length, most[i] ?? 0)),
    [],
  );
  for (const [column, least] of narrow) {
    const surplus = widths.reduce((sum, it) => sum + it, GAP.length * (widths.length - 1)) - width;
    const now = widths[column] ?? 0;
    const cutTo = Math.min(now, Math.max(least, now - Math.max(surplus, 0)));
    widths[column] = least === 0 && cutTo < Math.min(now, LEAST_READABLE) ? 0 : cutTo;
  }
  return rows.map(row => {
    const cells = row.flatMap((cell, i) => {
      const room = widths[i] ?? 0;
      if (room === 0) return [];
      return numbers.includes(i) ? cell.padStart(room) : cut(cell, room).padEnd(room);
    });
    return cut(cells.join(GAP).trimEnd(), width);
  });
}

/**
 * The text in a width, without control characters. An ellipsis stands for the rest, or for the middle of a path with its
 * line.
 */
export function cut(raw: string, width: number): string {
  const text = printable(raw);
  if (text.length <= width) return text;
  const end = text.startsWith("/") ? Math.min(text.length, Math.ceil(width * PATH_END)) : 0;
  return `${text.slice(0, Math.max(width - 1 - end, 0))}…${end > 0 ? text.slice(-end) : ""}`;
}

/** The end of a path, with file and line, says more than its start. */
const PATH_END = 0.7;

/** Names and values; long values continue below their start. */
export function facts(all: Readonly<Record<string, string>>, width: number, least = 0): string[] {
  const label = Math.max(least, ...Object.keys(all).map(name => name.length));
  return Object.entries(all).flatMap(([name, value]) => wrapped(`${name.padEnd(label)}${GAP}`, value, width));
}

/**
 * A text in lines of a width, without control characters. The first line begins with `first`, the others with as many
 * blanks.
 */
export function wrapped(first: string, raw: string, width: number): string[] {
  const text = printable(raw);
  if (first.length + text.length <= width) return [first + text];
  const lines = Bun.wrapAnsi(text, Math.max(width - first.length, LEAST_WIDTH), { hard: true }).split("\n");
  return lines.map((line, i) => (i === 0 ? first : " ".repeat(first.length)) + line);
}

const LEAST_WIDTH = 20;
