import { FAMILIES, type Family, separateRedundant } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import { IpsecSupport, refusesRules } from "../../nft/ipsec.ts";
import { commandsOf } from "../../nft/new-set.ts";
import { Nft } from "../../nft/nft.ts";
import type { NodeTables } from "../../nft/node-tables.ts";
import type { Table } from "../../nft/table.ts";
import { tableText } from "../../nft/text.ts";
import { traceableRuleset } from "../../nft/traceable.ts";
import { type Features, featuresOf } from "../../nft/version.ts";
import { type CidrList, listsOf, mapLists, type Policy } from "../../policy/policy.ts";
import { failureKind } from "../../system/program.ts";
import type { Backend, PollTarget, Watch, Watcher } from "../backend.ts";
import { NO_IPSEC } from "../limits.ts";
import { Memory } from "../memory.ts";
import { TABLE } from "../ownership.ts";
import { watchTransactions } from "../watch.ts";
import { VERY_LONG } from "./lengths.ts";
import { OwnTables, type TableMemory } from "./own-tables.ts";
import { NftablesPlan } from "./plan.ts";
import { type Abilities, chainNames, leakRuleset, ruleset } from "./ruleset.ts";
import { TableDiff } from "./table-diff.ts";
import { REPLACEMENT, transition } from "./transition.ts";

/** Keeps all rules in one table per family, whose rules and sets are swapped in one transaction. */
export class NftablesBackend implements Backend {
  readonly name = "nftables";
  readonly writer = "nft";
  readonly place = "own table";
  readonly dropsLeaks = true;
  readonly #nft: Nft;
  readonly #tables: OwnTables;
  readonly #ipsec: IpsecSupport;
  #limits: readonly string[] = [];
  /** The lists of all planned policies. Policies share the lists that did not change. */
  readonly #planned = new WeakSet<CidrList>();
  /** The answer to `prepare`; undefined if it failed. */
  #prepared: Promise<Features | undefined> | undefined;

  /**
   * @param argv the command line that starts nft
   * @param desired the desired tables of a policy
   */
  constructor(
    argv?: readonly string[],
    readonly desired: (policy: Policy, abilities: Abilities) => Table[] = ruleset,
    memory: TableMemory = new Memory(),
  ) {
    this.#nft = new Nft(argv);
    this.#tables = new OwnTables(this.#nft, memory);
    this.#ipsec = new IpsecSupport(this.#nft.transactions);
  }

  get limits(): readonly string[] {
    return this.#limits;
  }

  leakGuard(): NftablesBackend {
    return new NftablesBackend(this.#nft.argv, leakRuleset);
  }

  get version(): string | undefined {
    return this.#nft.version;
  }

  prepare(tables?: Promise<NodeTables | undefined>): void {
    if (this.#nft.version === undefined)
      this.#prepared = this.#nft.features(tables?.then(it => it?.version)).catch(() => undefined);
    if (tables) this.#tables.reader.prepare(tables);
  }

  async plan(policy: Policy, from: "kernel" | "memory" = "kernel"): Promise<NftablesPlan> {
    const families = policy.families.map(({ family }) => family);
    const { memory } = this.#tables;
    memory.resume();
    const remembered = from === "memory" ? this.#tables.remembered(families) : undefined;
    const lists = policy.families.flatMap(listsOf).map(({ list }) => list);
    const isNew = lists.some(it => it.effective.length >= VERY_LONG && !this.#planned.has(it));
    for (const list of lists) this.#planned.add(list);
    if (remembered || !isNew) return this.#plan(policy, families, remembered);
    // Listing and monitor each hold all elements in memory, and the write pauses the monitor anyway.
    memory.pause();
    try {
      const plan = await this.#plan(policy, families);
      if (plan.inSync) memory.resume();
      return plan;
    } catch (error) {
      memory.resume();
      throw error;
    }
  }

  async #plan(
    policy: Policy,
    families: readonly Family[],
    remembered?: ReadonlyMap<Family, Table>,
  ): Promise<NftablesPlan> {
    const listing = remembered ? undefined : await this.#tables.reader.list(families);
    const known = remembered ?? listing?.tables ?? new Map<Family, Table>();
    const features = await this.#features();
    // Asking costs more than the write itself, which gives the same answer.
    const isAssumed = known.size === 0 && !this.#ipsec.isKnown;
    const abilities = isAssumed
      ? { ...features, ipsec: true }
      : await this.#abilities(features, known.values());
    const desired = this.desired(policy, abilities);
    const tables = listing ? await this.#tables.reader.complete(listing, desired) : known;
    const diffs = desired.map(table => new TableDiff(table, tables.get(table.family)));
    if (remembered && diffs.some(({ dropsCounters }) => dropsCounters)) return this.plan(policy);
    return new NftablesPlan(diffs, {
      tables: this.#tables,
      nft: this.#nft,
      features,
      isRemembered: remembered !== undefined,
      listed: remembered ? [] : [...tables.values()],
      writer: `${this.name} by ${this.writer}`,
      instead: async error => {
        if (!isAssumed || !refusesRules(failureKind(error)) || (await this.#ipsec.has([]))) return undefined;
        return this.plan(policy);
      },
    });
  }

  async check(policy: Policy): Promise<void> {
    const features = await this.#nft.features();
    const check = (abilities: Abilities) => {
      const transitions = ruleset(sample(policy), abilities).map(table =>
        transition({ ...table, name: PROBE }, undefined, features.declaration),
      );
      return this.#nft.transactions.check([
        ...commandsOf(transitions.flatMap(({ build }) => build)),
        ...transitions.flatMap(({ swap }) => swap),
      ]);
    };
    try {
      await check({ ...features, ipsec: true });
      this.#ipsec.confirm();
    } catch (error) {
      if (!refusesRules(failureKind(error))) throw error;
      const abilities = await this.#abilities(features);
      if (abilities.ipsec) throw error;
      await check(abilities);
    }
  }

  explained(error: unknown): Promise<unknown> {
    return this.#nft.transactions.explained(error);
  }

  fingerprint(policy: Policy): Promise<string> {
    return this.#nft.chainsText(
      policy.families.flatMap(it =>
        chainNames(policy, it).map(name => ({ family: it.family, table: TABLE, name })),
      ),
    );
  }

  watch(watcher: Watcher, target: PollTarget): Watch {
    const { memory } = this.#tables;
    this.#tables.isWatched = true;
    return watchTransactions(
      this.#nft.argv,
      OURS,
      target,
      watcher,
      memory,
      () => this.#tables.reader.findsLong,
    );
  }

  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    return [...(await this.#tables.read(families)).values()].map(traceableRuleset);
  }

  async translates(families: readonly Family[]): Promise<boolean> {
    const tables = await this.#tables.read(families);
    const hooks = [...tables.values()].flatMap(({ chains }) => chains.map(({ hook }) => hook));
    return hooks.some(it => it?.type === "nat") || (await this.#tables.interrupted(families)).length > 0;
  }

  async actual(families: readonly Family[] = FAMILIES): Promise<readonly string[]> {
    const tables = await this.#tables.read(families);
    const interrupted = await this.#tables.interrupted(families);
    return [
      ...[...tables.values()].flatMap(tableText),
      ...interrupted.map(family => `table ${family} ${REPLACEMENT}`),
    ];
  }

  remove(families: readonly Family[] = FAMILIES): Promise<readonly string[]> {
    return this.#tables.remove(families);
  }

  /** A listing states the version, so nft is asked only if there was no table yet. */
  async #features(): Promise<Features> {
    const { version } = this.#nft;
    if (version !== undefined) return featuresOf(version);
    return (await this.#prepared) ?? this.#nft.features();
  }

  async #abilities({ elementCounters }: Features, tables: Iterable<Table> = []): Promise<Abilities> {
    const rules = [...tables].flatMap(({ chains }) => chains.flatMap(chain => chain.rules));
    const ipsec = await this.#ipsec.has(rules);
    this.#limits = ipsec ? [] : [NO_IPSEC];
    return { elementCounters, ipsec };
  }
}

/** The policy with short lists: kernel and nft accept it exactly if they accept the whole policy. */
function sample(policy: Policy): Policy {
  const few = ({ effective }: CidrList): CidrList => separateRedundant(effective.slice(0, FEW));
  return { ...policy, families: policy.families.map(it => mapLists(it, few)) };
}

const FEW = 3;

/** The name of a table for checks, so that our own table does not affect the answer. */
const PROBE = `${TABLE}-probe`;

/** Matches lines of the monitor about our tables. */
const OURS = new RegExp(`^\\w+ [a-z ]+ ip6? ${TABLE}(\\s|$)`);
