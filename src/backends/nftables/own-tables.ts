import type { Family } from "../../net/cidr.ts";
import type { Command } from "../../nft/json.ts";
import { type Nft, UNREADABLE } from "../../nft/nft.ts";
import { type Table, tableOf } from "../../nft/table.ts";
import { tableText } from "../../nft/text.ts";
import { type Declaration, featuresOf } from "../../nft/version.ts";
import { type FailureKind, failureKind, ProgramError } from "../../system/program.ts";
import { TABLE } from "../ownership.ts";
import { withoutGenerations } from "./generations.ts";
import { fieldOf } from "./sets.ts";
import { dropTable, REPLACEMENT, replaceTable, transition } from "./transition.ts";

/** The desired and the actual table of one family. */
export class TableDiff {
  readonly desiredText: readonly string[];
  readonly actualText: readonly string[];
  readonly inSync: boolean;

  constructor(
    readonly desired: Table,
    readonly actual: Table | undefined,
  ) {
    this.desiredText = tableText(desired);
    this.actualText = actual ? tableText(withoutGenerations(actual)) : [];
    this.inSync = Bun.deepEquals(this.desiredText, this.actualText);
  }
}

/** Reads and writes our tables in the kernel. All methods throw ProgramError. */
export class OwnTables {
  readonly #nft: Nft;

  constructor(nft: Nft) {
    this.#nft = nft;
  }

  /** The actual tables by family. Throws if there are some and this version of nft is too old to change them. */
  async read(families: readonly Family[]): Promise<Map<Family, Table>> {
    const listings = await Promise.all(
      families.map(async family => ({ family, listed: await this.#nft.table(family, TABLE) })),
    );
    const found = new Map<Family, Table>();
    for (const { family, listed } of listings) {
      const table = listed && tableOf(family, listed, fieldOf);
      if (table) found.set(family, table);
    }
    if (found.size > 0 && this.#nft.version !== undefined) featuresOf(this.#nft.version);
    return found;
  }

  /** The families with an interrupted replacement of our table. */
  async interrupted(families: readonly Family[]): Promise<Family[]> {
    const found = families.map(async family =>
      (await this.#nft.table(family, REPLACEMENT)) ? [family] : [],
    );
    return (await Promise.all(found)).flat();
  }

  /**
   * Makes the actual tables equal the desired ones, all families in the same transactions. Returns the resulting
   * tables. A table that cannot be read, or cannot be changed step by step, is replaced as a whole.
   */
  async write(diffs: readonly TableDiff[], declaration: Declaration): Promise<readonly Table[]> {
    if (diffs.some(({ actual }) => actual?.flags.includes(UNREADABLE)))
      return this.#replace(diffs, declaration);
    try {
      return await this.#change(diffs, declaration);
    } catch (error) {
      const kind = failureKind(error);
      // nft 1.0.6 prints each flag except `dormant` as an unknown flag.
      const owned = diffs.find(({ actual }) => actual?.flags.some(flag => flag !== "dormant"));
      if (kind === "not-permitted" && owned) throw ownerError(owned.desired);
      const isStuck = kind !== undefined && STUCK.includes(kind) && diffs.some(({ actual }) => actual);
      // Another program may have changed the table meanwhile. Then the next try may succeed.
      if (!isStuck || !(await this.#isUnchanged(diffs))) throw error;
      return this.#replace(diffs, declaration);
    }
  }

  async #change(diffs: readonly TableDiff[], declaration: Declaration): Promise<readonly Table[]> {
    if (diffs.length === 0) return [];
    const transitions = diffs.map(({ desired, actual }) => transition(desired, actual, declaration));
    const { transactions } = this.#nft;
    const first = diffs.filter(({ actual }) => !actual?.chains.some(({ hook }) => hook));
    const families = first.map(({ desired }) => desired.family);
    const built = transactions.build(transitions.flatMap(({ build }) => build));
    const interrupted = this.interrupted(families).catch(() => families);
    await built;
    // After a transaction that deletes objects, nft ends 10 ms later, when the kernel has freed them.
    const leftovers = (await interrupted).flatMap(family => dropTable({ family }, REPLACEMENT));
    await transactions.attempt([...transitions.flatMap(({ swap }) => swap), ...leftovers]);
    return transitions.map(({ table }) => table);
  }

  async #isUnchanged(diffs: readonly TableDiff[]): Promise<boolean> {
    const tables = await this.read(diffs.map(({ desired }) => desired.family));
    return diffs.every(diff => {
      const now = new TableDiff(diff.desired, tables.get(diff.desired.family));
      return Bun.deepEquals(diff.actualText, now.actualText);
    });
  }

  async #replace(diffs: readonly TableDiff[], declaration: Declaration): Promise<readonly Table[]> {
    for (const { desired } of diffs) await replaceTable(this.#nft.transactions, desired, declaration);
    return diffs.map(({ desired }) => desired);
  }

  /** Removes our tables. Returns what it removed. */
  async remove(families: readonly Family[]): Promise<readonly string[]> {
    const tables = await this.read(families);
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

/** Only the process that made a table with the flag owner can change it. */
function ownerError({ family }: Table): ProgramError {
  const what = `table ${family} ${TABLE} has the flag owner, so only the process that made it can change it`;
  const remedy = "end that process, such as a running nft -i; the kernel then deletes the table";
  return new ProgramError("busy", "nft", what, remedy);
}

/** Kinds of refusal for commands that do not fit the state of the table. */
const STUCK: readonly FailureKind[] = ["refused", "busy", "unsupported"];
