import type { Table } from "../../nft/table.ts";

/** Up to this many elements, a listing takes about as long as a listing without elements. */
export const SHORT = 1000;
/** From this many elements on, a set is listed alone and in nft's syntax. A listing has constant costs of 5 ms. */
export const LONG = 5000;
/**
 * From this many elements on, `nft monitor` would need too much memory beside a listing or a write: 71 MB for 45,000
 * elements.
 */
export const VERY_LONG = 20_000;

/** Whether a table has a set with at least that many elements. */
export function hasLong(table: Table | undefined, count: number): boolean {
  return table?.sets.some(({ elements }) => elements.length >= count) ?? false;
}
