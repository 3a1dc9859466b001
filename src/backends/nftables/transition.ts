import type { Command } from "../../nft/json.ts";
import type { NewSet } from "../../nft/new-set.ts";
import { type AddressSet, byName, type Chain, type Table } from "../../nft/table.ts";
import type { NftTransactions } from "../../nft/transactions.ts";
import type { Declaration } from "../../nft/version.ts";
import { TABLE } from "../ownership.ts";
import { GENERATIONS, generationName, setsInUse, withGenerations } from "./generations.ts";
import { isSameSet } from "./table-diff.ts";

/**
 * The commands that turn the actual table into the desired table, in two steps. `build` makes sets that no rule uses
 * yet; it may be sent as several transactions. `swap` is one transaction: it rewrites the rules to use these sets, and
 * deletes the objects that are no longer needed.
 */
export interface Transition {
  readonly build: readonly NewSet[];
  readonly swap: readonly Command[];
  /** The resulting table, including replaced sets that stay. */
  readonly table: Table;
  /** The resulting table with only the sets and counters that begin to count at zero. */
  readonly fresh: Table;
}

/**
 * @param desired the table with its sets under their plain names
 * @param actual the actual table; undefined if the table does not exist
 * @param keeps whether a set must stay although no rule will refer to it, because its last counts are not read yet
 * @param isNew whether the kernel must refuse the commands if the table exists, as another program may have made it
 */
export function transition(
  desired: Table,
  actual: Table | undefined,
  declaration: Declaration,
  keeps: (set: AddressSet) => boolean = () => false,
  isNew = false,
): Transition {
  const { name } = desired;
  const { table, fresh } = inKernel(desired, actual);
  const kept = (set: AddressSet) => actual?.sets.find(({ name }) => name === set.name) ?? set;
  const sets = actual?.sets ?? [];
  const unused = sets.filter(it => !table.sets.some(set => set.name === it.name));
  const chains = actual?.chains ?? [];
  const named = (object: string) => ({ family: table.family, table: name, name: object });
  const drop = (kind: string, name: string): Command => ({ delete: { [kind]: named(name) } });
  const others = actual?.others ?? [];
  const isMap = ({ kind }: { readonly kind: string }) => kind === "map";
  const isNewCounter = (name: string) => !actual?.counters.some(it => it.name === name);
  const itself = { table: { family: table.family, name } };
  const addTable: Command = isNew && fresh.length === 0 ? { create: itself } : { add: itself };
  return {
    table: {
      ...table,
      ...(actual?.handle !== undefined && { handle: actual.handle }),
      sets: [...table.sets.map(set => (fresh.includes(set) ? set : kept(set))), ...unused.filter(keeps)].sort(
        byName,
      ),
      counters: table.counters.map(it => actual?.counters.find(({ name }) => name === it.name) ?? it),
    },
    fresh: { ...table, sets: fresh, counters: table.counters.filter(({ name }) => isNewCounter(name)) },
    build: fresh.map(set => ({
      table: { family: table.family, name, isNew },
      set,
      declaration,
      replaces: sets.some(({ name }) => name === set.name),
    })),
    swap: [
      addTable,
      ...chains.map(({ name }): Command => ({ flush: { chain: named(name) } })),
      // Elements of a map may refer to chains, named counters and quotas.
      ...others.filter(isMap).map(({ kind, name }) => drop(kind, name)),
      ...chains.filter(it => !canStay(it, table)).map(({ name }) => drop("chain", name)),
      ...table.counters.map(({ name }): Command => ({ add: { counter: named(name) } })),
      ...table.chains.map(({ name, hook }): Command => ({ add: { chain: { ...named(name), ...hook } } })),
      ...table.chains.flatMap(chain => addRules(chain, table, name)),
      ...unused.filter(it => !keeps(it)).map(({ name }) => drop("set", name)),
      ...(actual?.counters ?? [])
        .filter(it => !table.counters.some(({ name }) => name === it.name))
        .map(({ name }) => drop("counter", name)),
      ...others.filter(it => !isMap(it)).map(({ kind, name }) => drop(kind, name)),
    ],
  };
}

/** The desired table under its names in the kernel, and its sets that do not exist there yet. */
function inKernel(desired: Table, actual: Table | undefined): { table: Table; fresh: AddressSet[] } {
  const inUse = actual ? setsInUse(actual) : new Set<string>();
  const exists = new Set(actual?.sets.map(({ name }) => name));
  const generations = new Map<string, string>();
  const reused = new Set<string>();
  for (const set of desired.sets) {
    const all = GENERATIONS.map(generation => ({ generation, name: generationName(set.name, generation) }));
    const equal = all.filter(({ name }) => hasSet(actual, { ...set, name }));
    const kept = equal.find(({ name }) => inUse.has(name)) ?? equal[0];
    if (kept) reused.add(kept.name);
    const free = all.find(({ name }) => !exists.has(name)) ?? all.find(({ name }) => !inUse.has(name));
    generations.set(set.name, (kept ?? free)?.generation ?? "a");
  }
  const table = withGenerations(desired, generations);
  return { table, fresh: table.sets.filter(({ name }) => !reused.has(name)) };
}

function hasSet(actual: Table | undefined, desired: AddressSet): boolean {
  const found = actual?.sets.find(({ name }) => name === desired.name);
  return actual !== undefined && found !== undefined && isSameSet(desired, found, actual.family);
}

/** Whether a chain can stay: the hook of a base chain cannot be changed. */
function canStay({ name, hook }: Chain, { chains }: Table): boolean {
  const desired = chains.find(chain => chain.name === name);
  return desired !== undefined && Bun.deepEquals(desired.hook, hook);
}

function addRules({ name, rules }: Chain, { family }: Table, table: string): Command[] {
  return rules.map(({ comment, expr }) => ({
    add: { rule: { family, table, chain: name, ...(comment ? { comment } : {}), expr: [...expr] } },
  }));
}

/** The table that has our rules while our own table is replaced. */
export const REPLACEMENT = `${TABLE}-next`;

/**
 * Replaces our table as a whole, in any state. At each moment one complete table decides: the rules move to another
 * table while ours is deleted, and back. If it throws ProgramError, one of the two decides.
 */
export async function replaceTable(
  nft: NftTransactions,
  desired: Table,
  declaration: Declaration,
): Promise<void> {
  const there = transition({ ...desired, name: REPLACEMENT }, undefined, declaration);
  const back = transition(desired, undefined, declaration);
  await nft.commit(dropTable(desired, REPLACEMENT));
  await nft.build(there.build);
  await nft.commit([...there.swap, ...dropTable(desired, TABLE)]);
  await nft.build(back.build);
  await nft.commit([...back.swap, ...dropTable(desired, REPLACEMENT)]);
}

/** Commands that delete a table if it exists. */
export function dropTable({ family }: Pick<Table, "family">, name: string): Command[] {
  return [{ add: { table: { family, name } } }, { delete: { table: { family, name } } }];
}
