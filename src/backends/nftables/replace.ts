import type { Command } from "../../nft/json.ts";
import type { Nft } from "../../nft/nft.ts";
import type { Table } from "../../nft/table.ts";
import type { Declaration } from "../../nft/version.ts";
import { TABLE } from "../ownership.ts";
import { swapTo } from "./swap.ts";

/** The table that decides while ours is replaced. */
export const NEXT = `${TABLE}-next`;

/**
 * Replaces our table whole, whatever state it is in. At each moment one complete table decides: the rules move to a
 * table of another name while ours is deleted, and back. Throws ProgramError; then one of the two decides.
 */
export async function replaceWhole(nft: Nft, desired: Table, declaration: Declaration): Promise<void> {
  const there = swapTo({ ...desired, name: NEXT }, undefined, declaration);
  const back = swapTo(desired, undefined, declaration);
  await nft.commit(dropTable(desired, NEXT));
  await nft.build(there.build);
  await nft.commit([...there.swap, ...dropTable(desired, TABLE)]);
  await nft.build(back.build);
  await nft.commit([...back.swap, ...dropTable(desired, NEXT)]);
}

/** Commands that delete a table, or do nothing if it does not exist. */
export function dropTable({ family }: Pick<Table, "family">, name: string): Command[] {
  return [{ add: { table: { family, name } } }, { delete: { table: { family, name } } }];
}
