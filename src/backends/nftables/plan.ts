import type { Nft } from "../../nft/nft.ts";
import { type Table, tableOf } from "../../nft/table.ts";
import type { Features } from "../../nft/version.ts";
import { failureKind } from "../../system/program.ts";
import { type Counter, joinChanges, type Plan, type RuleChanges } from "../backend.ts";
import { counters } from "./counters.ts";
import { SHORT } from "./lengths.ts";
import type { OwnTables } from "./own-tables.ts";
import { fieldOf } from "./sets.ts";
import { outline, TableDiff } from "./table-diff.ts";

/** The parts of a plan that do not depend on the family. */
interface Context {
  readonly tables: OwnTables;
  readonly nft: Nft;
  readonly features: Features;
  readonly isRemembered: boolean;
  /** The tables whose counters were listed. */
  readonly listed: readonly Table[];
  readonly ended?: readonly Counter[];
  readonly writer: string;
  /**
   * The plan to apply if the kernel refuses this plan because an assumption is wrong; undefined without assumptions.
   */
  readonly instead: (refusal: unknown) => Promise<NftablesPlan | undefined>;
}

/** The desired and the actual tables of a policy. */
export class NftablesPlan implements Plan {
  readonly inSync: boolean;
  readonly #diffs: readonly TableDiff[];
  readonly #context: Context;
  /** The tables that this plan wrote. */
  #written: readonly Table[] = [];
  /** Whether nft showed that the write took effect. */
  #isEchoed = false;
  /** The plan that was applied because the kernel refused this plan. */
  #instead: NftablesPlan | undefined;

  constructor(diffs: readonly TableDiff[], context: Context) {
    this.#diffs = diffs;
    this.#context = context;
    this.inSync = diffs.every(({ inSync }) => inSync);
  }

  get isRemembered(): boolean {
    return this.#context.isRemembered;
  }

  get writer(): string {
    return this.#context.writer;
  }

  get counters(): readonly Counter[] {
    return this.#context.listed.flatMap(counters);
  }

  get ended(): readonly Counter[] {
    return this.#context.ended ?? [];
  }

  get caution(): string | undefined {
    return this.#context.nft.caution;
  }

  get actual(): readonly string[] {
    return this.#diffs.flatMap(({ actualText }) => actualText);
  }

  get desired(): readonly string[] {
    return this.#diffs.flatMap(({ desiredText }) => desiredText);
  }

  get changes(): RuleChanges {
    return joinChanges(this.#diffs.filter(({ inSync }) => !inSync).map(({ changes }) => changes));
  }

  async apply(): Promise<readonly Counter[]> {
    const changing = this.#diffs.filter(({ inSync }) => !inSync);
    const { tables, features, isRemembered } = this.#context;
    try {
      const { transitions, isEchoed } = await tables.write(changing, features, !isRemembered);
      this.#isEchoed = isEchoed;
      this.#written = transitions.map(({ table }) => table);
      return transitions.flatMap(({ fresh }) => counters(fresh));
    } catch (error) {
      tables.memory.resume();
      this.#instead = await this.#context.instead(error);
      if (!this.#instead) throw error;
      return this.#instead.apply();
    }
  }

  /**
   * Lists the tables without the elements of their sets: a transaction takes effect as a whole, or not at all. If nft
   * would read all elements even so, the report of the transaction by `nft monitor` suffices, or for a new table the
   * existence of its base chain. The report of a short list has all its elements; without a report, a short list is
   * listed in full, because that costs as little.
   */
  async confirm(isWatched = false): Promise<Plan | undefined> {
    if (this.#instead) return this.#instead.confirm(isWatched);
    try {
      return isWatched && this.#isEchoed ? this.#after(this.#written) : await this.#confirm();
    } finally {
      this.#context.tables.memory.resume();
    }
  }

  async #confirm(): Promise<Plan | undefined> {
    const { memory } = this.#context.tables;
    if (this.#written.flatMap(({ sets }) => sets).reduce((sum, it) => sum + it.elements.length, 0) < SHORT) {
      const isReported = this.#keepsHooks && (await memory.confirmed(SHORT_REPORT_MS));
      return isReported ? this.#after(this.#written) : undefined;
    }
    const isSeen = async () => (await memory.confirmed(REPORT_MS)) || (await this.#madeChains());
    if (!this.#context.features.listsTersely && (await isSeen())) return this.#after(this.#written);
    const looks = await Promise.all(this.#written.map(table => this.#outlineOf(table)));
    const outlines = looks.filter(it => it !== undefined);
    if (outlines.length < this.#written.length) return undefined;
    const { tables, ended } = await this.#context.tables.settle(this.#written, outlines);
    return this.#after(tables, ended);
  }

  /** Whether the write made the first chains. The kernel has them only if it has all of that transaction. */
  async #madeChains(): Promise<boolean> {
    if (this.#diffs.some(({ actual }) => actual)) return false;
    const { transactions } = this.#context.nft;
    const found = this.#written.map(({ family, name, chains: [base] }) =>
      base ? transactions.hasChain(family, name, base.name) : false,
    );
    return (await Promise.all(found)).every(it => it);
  }

  /** Whether the write leaves the hooks, which reports do not compare. */
  get #keepsHooks(): boolean {
    return this.#diffs.every(({ desired, actual }) =>
      desired.chains.every(({ name, hook }) => {
        const chain = actual?.chains.find(it => it.name === name);
        return hook === undefined || Bun.deepEquals(hook, chain?.hook);
      }),
    );
  }

  /** The plan after the write of these tables. */
  #after(tables: readonly Table[], ended: readonly Counter[] = []): NftablesPlan {
    const written = new Map(tables.map(table => [table.family, table]));
    const diffs = this.#diffs.map(
      it => new TableDiff(it.desired, written.get(it.desired.family) ?? it.actual),
    );
    return new NftablesPlan(diffs, { ...this.#context, isRemembered: true, listed: [], ended });
  }

  /** The table in the kernel, without elements; undefined if it is not as written. */
  async #outlineOf(table: Table): Promise<Table | undefined> {
    const listed = await this.#context.nft.outline(table.family, table.name);
    const found = listed && tableOf(table.family, listed, fieldOf);
    return found && Bun.deepEquals(outline(found), outline(table)) ? found : undefined;
  }

  async tidy(): Promise<void> {
    if (this.isRemembered) return;
    try {
      await this.#context.tables.dropReplaced(this.#diffs);
    } catch (error) {
      if (failureKind(error) === undefined) throw error;
    }
  }
}

/** Milliseconds to wait for a report. `nft monitor` takes 140 ms to print 10,000 elements. */
const REPORT_MS = 1000;
/** Milliseconds to wait for the report of a short list, which comes within 3 ms on an idle machine. */
const SHORT_REPORT_MS = 100;
