import type { Family } from "../../net/cidr.ts";
import type { Command } from "../../nft/json.ts";
import { reportOf } from "../../nft/new-set.ts";
import { type Nft, UNREADABLE } from "../../nft/nft.ts";
import type { AddressSet, Table } from "../../nft/table.ts";
import { ruleLines } from "../../nft/text.ts";
import type { Features } from "../../nft/version.ts";
import { failureKind } from "../../system/program.ts";
import { type Counter, mayBeStale } from "../backend.ts";
import type { Memory } from "../memory.ts";
import { ownerError, TABLE } from "../ownership.ts";
import { counters } from "./counters.ts";
import { hasManyReplaced, listOfSet, replacedSets } from "./generations.ts";
import { hasLong, SHORT, VERY_LONG } from "./lengths.ts";
import { TableDiff } from "./table-diff.ts";
import { TableReader } from "./table-reader.ts";
import { dropTable, REPLACEMENT, replaceTable, type Transition, transition } from "./transition.ts";

interface Written {
  readonly transitions: readonly Transition[];
  /** Whether nft showed that the last transaction took effect. */
  readonly isEchoed: boolean;
}

interface Settled {
  readonly tables: readonly Table[];
  /** The last counts of removed sets. */
  readonly ended: readonly Counter[];
}

/** The table of each family; null if it does not exist. */
export type TableMemory = Memory<Family, Table | null>;

/** Reads and writes our tables in the kernel. All methods throw ProgramError. */
export class OwnTables {
  readonly #nft: Nft;
  readonly reader: TableReader;
  /** Whether reports of changes were begun. */
  isWatched = false;

  constructor(
    nft: Nft,
    readonly memory: TableMemory,
  ) {
    this.#nft = nft;
    this.reader = new TableReader(nft, this.memory);
    nft.transactions.onSend = () => this.memory.expect();
    nft.transactions.onFailure = () => this.memory.forget();
  }

  /** The tables as far as they are remembered; undefined if a family must be listed. */
  remembered(families: readonly Family[]): Map<Family, Table> | undefined {
    const found = new Map<Family, Table>();
    for (const family of families) {
      const table = this.memory.get(family);
      if (table === undefined || (table && hasManyReplaced(table))) return undefined;
      if (table) found.set(family, table);
    }
    return found;
  }

  /** The actual tables by family. Throws if tables exist and this version of nft is too old to change them. */
  async read(families: readonly Family[]): Promise<Map<Family, Table>> {
    return this.reader.complete(await this.reader.list(families));
  }

  /** The families with an interrupted replacement of our table. */
  async interrupted(families: readonly Family[]): Promise<Family[]> {
    const found = families.map(async family =>
      (await this.#nft.outline(family, REPLACEMENT)) ? [family] : [],
    );
    return (await Promise.all(found)).flat();
  }

  /**
   * Makes the actual tables equal to the desired tables, all families in the same transactions. A table that cannot be
   * read, or cannot be changed step by step, is replaced as a whole.
   *
   * While transactions are watched, a set that counts stays when it is replaced, until a listing has its last counts.
   *
   * @param isListed whether the actual tables were listed, so that the counts of sets replaced before are read
   */
  async write(diffs: readonly TableDiff[], features: Features, isListed: boolean): Promise<Written> {
    if (diffs.some(({ actual }) => actual?.flags.includes(UNREADABLE))) return this.#replace(diffs, features);
    const isPaused = diffs.some(it => hasLong(it.desired, VERY_LONG) || hasLong(it.actual, VERY_LONG));
    const keepsReplaced = isPaused || this.memory.isWatched || (this.isWatched && this.memory.isPaused);
    if (isPaused) this.memory.pause();
    try {
      return await this.#change(diffs, features, { isListed, keepsReplaced });
    } catch (error) {
      const kind = failureKind(error);
      // nft 1.0.6 prints each flag except `dormant` as an unknown flag.
      const owned = diffs.find(({ actual }) => actual?.flags.some(flag => flag !== "dormant"));
      if (kind === "not-permitted" && owned) throw ownerError(owned.desired.family);
      const isStuck = mayBeStale(error) && diffs.some(({ actual }) => actual);
      // Another program may have changed the table meanwhile. Then the next try may succeed.
      if (!isStuck || !(await this.#isUnchanged(diffs))) throw error;
      return this.#replace(diffs, features);
    }
  }

  async #change(
    diffs: readonly TableDiff[],
    { declaration, listsTersely }: Features,
    { isListed, keepsReplaced }: { readonly isListed: boolean; readonly keepsReplaced: boolean },
  ): Promise<Written> {
    if (diffs.length === 0) return { transitions: [], isEchoed: false };
    const keeps = ({ name, counting }: AddressSet) =>
      keepsReplaced && counting && listOfSet(name) !== undefined;
    const transitions = diffs.map(({ desired, actual, replaced }) => {
      const stays = (set: AddressSet) => keeps(set) && !(isListed && replaced.includes(set));
      return transition(desired, actual, declaration, stays, !actual);
    });
    const { transactions } = this.#nft;
    const first = diffs.filter(({ actual }) => !actual?.chains.some(({ hook }) => hook));
    const { seen } = this.reader;
    // Without our table, no agent could have begun to replace it since.
    const lacksBoth = (it: Family) => [TABLE, REPLACEMENT].every(name => seen?.has(it, name) === false);
    const families = first.map(({ desired }) => desired.family).filter(it => !lacksBoth(it));
    const sets = transitions.flatMap(({ build }) => build);
    const isShort = !transitions.some(({ fresh }) => hasLong(fresh, SHORT));
    this.memory.await(
      transitions.flatMap(({ table }) => ruleLines(table)),
      isShort ? sets.flatMap(reportOf) : undefined,
    );
    const built = transactions.build(sets);
    const interrupted = this.interrupted(families).catch(() => families);
    await built;
    // After a transaction that deletes objects, nft ends 10 ms later, when the kernel has freed them.
    const leftovers = (await interrupted).flatMap(family => dropTable({ family }, REPLACEMENT));
    const swap = [...transitions.flatMap(it => it.swap), ...leftovers];
    const isEchoed =
      isShort &&
      (listsTersely || seen?.mayHaveSets === false) &&
      first.length === diffs.length &&
      !this.isWatched
        ? await transactions.attemptEchoed(swap)
        : await this.memory.committed(transactions.attempt(swap)).then(() => false);
    for (const { table } of transitions) {
      this.memory.written(table.family, table);
      this.reader.measure(table.family, table);
    }
    return { transitions, isEchoed };
  }

  /**
   * Ends a write of a very long list: removes the sets that it replaced, after a listing of their counts. Returns the
   * tables without these sets, and the counts. Leaves them to the next listing if nft fails.
   *
   * @param written the tables as they were written
   * @param outlines the same tables as they are listed, without elements
   */
  async settle(written: readonly Table[], outlines: readonly Table[]): Promise<Settled> {
    const tables: Table[] = [];
    const ended: Counter[] = [];
    const isLong = written.some(table => hasLong(table, VERY_LONG));
    for (const [i, table] of written.entries()) {
      const outline = outlines[i];
      const replaced = outline && isLong ? replacedSets(outline) : [];
      try {
        const sets: AddressSet[] = [];
        for (const set of replaced) {
          const expected = table.sets.find(({ name }) => name === set.name)?.elements;
          sets.push({ ...set, ...(await this.reader.elementsOf(table, set, expected ?? [])) });
        }
        tables.push(await this.#drop(table, replaced));
        if (outline) ended.push(...counters({ ...outline, sets, counters: [] }));
      } catch (error) {
        if (failureKind(error) === undefined) throw error;
        tables.push(table);
      }
    }
    return { tables, ended };
  }

  /** Removes replaced sets, whose counts were listed. Throws ProgramError. */
  async dropReplaced(diffs: readonly TableDiff[]): Promise<void> {
    for (const { actual, replaced } of diffs) if (actual) await this.#drop(actual, replaced);
  }

  async #drop(table: Table, dropped: readonly AddressSet[]): Promise<Table> {
    if (dropped.length === 0) return table;
    const { family } = table;
    const names = new Set(dropped.map(({ name }) => name));
    await this.#nft.transactions.attempt(
      [...names].map((name): Command => ({ delete: { set: { family, table: TABLE, name } } })),
    );
    const rest = { ...table, sets: table.sets.filter(({ name }) => !names.has(name)) };
    this.memory.written(family, rest);
    return rest;
  }

  async #isUnchanged(diffs: readonly TableDiff[]): Promise<boolean> {
    const tables = await this.read(diffs.map(({ desired }) => desired.family));
    return diffs.every(diff => {
      const now = new TableDiff(diff.desired, tables.get(diff.desired.family));
      return Bun.deepEquals(diff.actualText, now.actualText);
    });
  }

  async #replace(diffs: readonly TableDiff[], { declaration }: Features): Promise<Written> {
    for (const { desired } of diffs) await replaceTable(this.#nft.transactions, desired, declaration);
    this.memory.forget(); // some of these transactions do not touch our table
    const transitions = diffs.map(({ desired }) => transition(desired, undefined, declaration));
    return { transitions, isEchoed: false };
  }

  /** Removes our tables. Returns the removed rules. */
  async remove(families: readonly Family[]): Promise<readonly string[]> {
    const { tables } = await this.reader.list(families);
    this.memory.forget();
    await this.#delete([...tables.values()]);
    const interrupted = await this.interrupted(families);
    if (interrupted.length > 0)
      await this.#nft.transactions.commit(interrupted.flatMap(family => dropTable({ family }, REPLACEMENT)));
    return [
      ...[...tables.keys()].map(family => `table ${family} ${TABLE}`),
      ...interrupted.map(family => `table ${family} ${REPLACEMENT}`),
    ];
  }

  /** Deletes the rules first: if their sets went at the same time, lookups would find empty sets for a moment. */
  async #delete(tables: readonly Table[]): Promise<void> {
    if (tables.length === 0) return;
    const { transactions } = this.#nft;
    const rules = tables.flatMap(({ family, chains }) =>
      chains.map(({ name }): Command => ({ flush: { chain: { family, table: TABLE, name } } })),
    );
    if (rules.length > 0) await transactions.commit(rules);
    await transactions.commit(tables.map(({ family }) => ({ delete: { table: { family, name: TABLE } } })));
  }
}
