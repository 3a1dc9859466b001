import type { Family } from "../../net/cidr.ts";
import type { Nft } from "../../nft/nft.ts";
import type { NodeTables } from "../../nft/node-tables.ts";
import { type AddressSet, type Element, type Table, tableOf } from "../../nft/table.ts";
import { featuresOf } from "../../nft/version.ts";
import type { Memory } from "../memory.ts";
import { TABLE } from "../ownership.ts";
import { listOfSet } from "./generations.ts";
import { hasLong, LONG } from "./lengths.ts";
import { fieldOf } from "./sets.ts";

/** A listing of our tables, which may lack the elements of sets. */
export interface Listing {
  readonly families: readonly Family[];
  readonly tables: ReadonlyMap<Family, Table>;
  /** The epoch of the memory when the listing began. */
  readonly epoch: number;
  /** The families whose tables are listed without the elements of their sets. */
  readonly outlines: readonly Family[];
}

/** Reads our tables from the kernel with little memory. All methods throw ProgramError. */
export class TableReader {
  readonly #nft: Nft;
  readonly #memory: Memory<Family, Table | null>;
  /** The families whose tables have no long sets, as far as they are known. */
  readonly #short = new Set<Family>();
  #findsLong = false;
  /** The tables of the node as {@link prepare} was told, until the first listing. */
  #look: { readonly epoch: number; readonly found: Promise<NodeTables | undefined> } | undefined;
  /** The same after it, for the first write. */
  #seen: { readonly epoch: number; readonly found: NodeTables } | undefined;

  /** @param memory receives each listing */
  constructor(nft: Nft, memory: Memory<Family, Table | null>) {
    this.#nft = nft;
    this.#memory = memory;
  }

  /** Uses a look at the tables of the node for the first listing and the first write. */
  prepare(found: Promise<NodeTables | undefined>): void {
    this.#look = { epoch: this.#memory.epoch, found };
  }

  /** The tables of the node before the first write; undefined after a report or a write. */
  get seen(): NodeTables | undefined {
    return this.#seen?.epoch === this.#memory.epoch ? this.#seen.found : undefined;
  }

  /**
   * Lists our tables, without the elements of sets if they may be many. Throws if tables exist and this version of nft
   * is too old to change them.
   */
  async list(families: readonly Family[]): Promise<Listing> {
    const { epoch } = this.#memory;
    const outlines = families.filter(it => !this.#short.has(it));
    // A config may be valid, or an active agent end, long after the look.
    const found = this.#look?.epoch === epoch ? await this.#look.found : undefined;
    this.#look = undefined;
    this.#seen = found && { epoch, found };
    const listings = await Promise.all(
      families.map(async family => {
        if (found?.has(family, TABLE) === false) return { family, table: undefined };
        const listed = await (outlines.includes(family)
          ? this.#nft.outline(family, TABLE)
          : this.#nft.table(family, TABLE));
        return { family, table: listed && tableOf(family, listed, fieldOf) };
      }),
    );
    const tables = listings.flatMap(({ family, table }) => (table ? [[family, table] as const] : []));
    if (tables.length > 0 && this.#nft.version !== undefined) featuresOf(this.#nft.version);
    return { families, tables: new Map(tables), epoch, outlines };
  }

  /**
   * The tables of a listing with all elements. Long sets are read one at a time, since nft needs 1.6 kB of memory for
   * each element that it lists.
   *
   * @param desired the probable tables. Equal elements are shared with them.
   */
  async complete(
    { families, tables, epoch, outlines }: Listing,
    desired: readonly Table[] = [],
  ): Promise<Map<Family, Table>> {
    const found = new Map<Family, Table>();
    for (const family of families) {
      const listed = tables.get(family);
      const probable = desired.find(it => it.family === family);
      const table = listed && outlines.includes(family) ? await this.#withElements(listed, probable) : listed;
      this.#memory.listed(family, table ?? null, epoch);
      if (table) found.set(family, table);
      this.measure(family, table);
    }
    return found;
  }

  async #withElements(table: Table, probable: Table | undefined): Promise<Table> {
    const sets: AddressSet[] = [];
    for (const set of table.sets) {
      const name = listOfSet(set.name)?.name;
      const expected = probable?.sets.find(it => it.name === name)?.elements ?? [];
      sets.push({ ...set, ...(await this.elementsOf(table, set, expected)) });
    }
    return { ...table, sets };
  }

  /** The elements of a set, which are probably as expected. */
  async elementsOf(
    { family, name: table }: Table,
    { name }: AddressSet,
    expected: readonly Element[],
  ): Promise<Pick<AddressSet, "elements" | "counts">> {
    const elements = await this.#nft.elements(family, table, name, expected);
    if (elements) return elements;
    const listed = await this.#nft.set(family, table, name);
    const [found] =
      (listed && tableOf(family, [...listed, { table: { family, name: table } }], fieldOf)?.sets) ?? [];
    return { elements: found?.elements ?? [], ...(found?.counts && { counts: found.counts }) };
  }

  /** Records whether a table has long sets, before it is listed again. */
  measure(family: Family, table: Table | undefined): void {
    const isLong = hasLong(table, LONG);
    if (isLong) this.#short.delete(family);
    else this.#short.add(family);
    this.#findsLong ||= isLong;
  }

  /** Whether a table had long sets. */
  get findsLong(): boolean {
    return this.#findsLong;
  }
}
