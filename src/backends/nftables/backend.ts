import type { Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import { IpsecSupport, isRefusal } from "../../nft/ipsec.ts";
import type { Command, NftObject } from "../../nft/json.ts";
import { type ChainName, Nft, UNREADABLE } from "../../nft/nft.ts";
import { type Table, tableOf } from "../../nft/table.ts";
import { tableText } from "../../nft/text.ts";
import { traceableRuleset } from "../../nft/traceable.ts";
import { type Declaration, type Features, featuresOf } from "../../nft/version.ts";
import type { CidrList, Policy } from "../../policy/policy.ts";
import { type FailureKind, failureKind, ProgramError } from "../../system/program.ts";
import { type Backend, type Counter, FAMILIES, type Plan, type Watch, type Watcher } from "../backend.ts";
import { NO_IPSEC } from "../limits.ts";
import { TABLE } from "../ownership.ts";
import { watchTransactions } from "../watch.ts";
import { counters } from "./counters.ts";
import { dropTable, NEXT, replaceWhole } from "./replace.ts";
import { type Abilities, fieldOf, ruleset } from "./ruleset.ts";
import { withoutLetters } from "./slots.ts";
import { swapTo } from "./swap.ts";

/** Everything of ours is in one table per family, whose sets and rules are swapped as a whole. */
export class NftablesBackend implements Backend {
  readonly name = "nftables";
  readonly writer = "nft";
  readonly place = "own table";
  readonly #nft: Nft;
  readonly #ipsec: IpsecSupport;
  #limits: readonly string[] = [];
  /** What was last planned and could be read, and the chains that it has: a family that fails is not looked at. */
  #policy: Policy | undefined;
  #chains: readonly ChainName[] = [];

  /** @param argv how nft is called */
  constructor(argv?: readonly string[]) {
    this.#nft = new Nft(argv);
    this.#ipsec = new IpsecSupport(this.#nft);
  }

  get limits(): readonly string[] {
    return this.#limits;
  }

  async plan(policy: Policy): Promise<Plan> {
    const { actual, ...read } = await this.#read(policy.families.map(({ family }) => family));
    const features = read.features ?? (await this.#nft.features());
    const abilities = await this.#abilities(features, actual.values());
    const pairs = ruleset(policy, abilities).map(desired => new Pair(desired, actual.get(desired.family)));
    this.#policy = policy;
    this.#chains = pairs.flatMap(({ desired: { family, chains } }) =>
      chains.map(({ name }) => ({ family, table: TABLE, name })),
    );
    const inSync = pairs.every(pair => pair.inSync);
    return {
      actual: pairs.flatMap(pair => pair.actualText),
      desired: pairs.flatMap(pair => pair.desiredText),
      inSync,
      writer: `${this.name} by ${this.writer}`,
      counters: [...actual.values()].flatMap(counters),
      caution: this.#nft.caution,
      apply: () => this.#apply(pairs, features),
    };
  }

  async probe(policy: Policy): Promise<ProgramError | undefined> {
    try {
      const features = await this.#nft.features();
      const tried = (abilities: Abilities) => {
        const swaps = ruleset(sample(policy), abilities).map(table =>
          swapTo({ ...table, name: PROBE }, undefined, features.declaration),
        );
        return this.#nft.check([
          ...swaps.flatMap(({ build }) => build),
          ...swaps.flatMap(({ swap }) => swap),
        ]);
      };
      try {
        await tried({ ...features, ipsec: true });
        this.#ipsec.found();
      } catch (error) {
        if (!isRefusal(failureKind(error))) throw error;
        const abilities = await this.#abilities(features);
        if (abilities.ipsec) throw error;
        await tried(abilities);
      }
      return undefined;
    } catch (error) {
      if (error instanceof ProgramError) return error;
      throw error;
    }
  }

  explained(error: unknown): Promise<unknown> {
    return this.#nft.explained(error);
  }

  watch(watcher: Watcher): Watch {
    const look = {
      glance: () => this.#nft.chainsText(this.#chains),
      plan: () => this.#policy && this.plan(this.#policy),
    };
    return watchTransactions(this.#nft.argv, OURS, look, watcher);
  }

  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    const { actual } = await this.#read(families);
    return [...actual.values()].map(traceableRuleset);
  }

  async actual(families = FAMILIES): Promise<readonly string[]> {
    const { actual } = await this.#read(families);
    const next = await this.#unfinished(families);
    return [...[...actual.values()].flatMap(tableText), ...next.map(family => `table ${family} ${NEXT}`)];
  }

  async remove(families = FAMILIES): Promise<readonly string[]> {
    const { actual } = await this.#read(families);
    await this.#delete([...actual.values()]);
    const next = await this.#unfinished(families);
    if (next.length > 0) await this.#nft.commit(next.flatMap(family => dropTable({ family }, NEXT)));
    return [
      ...[...actual.keys()].map(family => `table ${family} ${TABLE}`),
      ...next.map(family => `table ${family} ${NEXT}`),
    ];
  }

  /** The families in which the replacement of a whole table was interrupted. */
  async #unfinished(families: readonly Family[]): Promise<Family[]> {
    const found = families.map(async family => ((await this.#nft.list(family, NEXT)) ? [family] : []));
    return (await Promise.all(found)).flat();
  }

  /** The rules go first: if they went with their sets, they would for a moment find nothing in them. */
  async #delete(tables: readonly Table[]): Promise<void> {
    if (tables.length === 0) return;
    const rules = tables.flatMap(({ family, chains }) =>
      chains.map(({ name }): Command => ({ flush: { chain: { family, table: TABLE, name } } })),
    );
    if (rules.length > 0) await this.#nft.commit(rules);
    await this.#nft.commit(tables.map(({ family }) => ({ delete: { table: { family, name: TABLE } } })));
  }

  async #abilities({ elementCounters }: Features, actual: Iterable<Table> = []): Promise<Abilities> {
    const rules = [...actual].flatMap(({ chains }) => chains.flatMap(chain => chain.rules));
    const ipsec = await this.#ipsec.has(rules);
    this.#limits = ipsec ? [] : [NO_IPSEC];
    return { elementCounters, ipsec };
  }

  /** Without the features if there is no table: so an nft that is too old can still say that there is nothing. */
  async #read(
    families: readonly Family[],
  ): Promise<{ actual: Map<Family, Table>; features: Features | undefined }> {
    const actual = new Map<Family, Table>();
    let features: Features | undefined;
    const listings = await Promise.all(
      families.map(async family => ({ family, listed: await this.#nft.list(family, TABLE) })),
    );
    for (const { family, listed } of listings) {
      const table = listed && tableOf(family, listed, fieldOf);
      if (table) actual.set(family, table);
      const version = listed && versionOf(listed);
      if (version !== undefined) features = featuresOf(version);
    }
    return { actual, features };
  }

  /** Families that change together go together, each half of the way. */
  async #apply(pairs: readonly Pair[], features: Features): Promise<readonly Counter[]> {
    const changing = pairs.filter(pair => !pair.inSync);
    const same = pairs.flatMap(({ inSync, actual }) => (inSync && actual ? [actual] : []));
    const written = await this.#write(changing, features);
    return [...same, ...written].flatMap(counters);
  }

  /** Returns the tables as they then are. A table that cannot be read, or updated step by step, is replaced whole. */
  async #write(pairs: readonly Pair[], { declaration }: Features): Promise<readonly Table[]> {
    if (pairs.some(({ actual }) => actual?.flags.includes(UNREADABLE)))
      return this.#replace(pairs, declaration);
    const swaps = pairs.map(({ desired, actual }) => swapTo(desired, actual, declaration));
    try {
      await this.#nft.build(swaps.flatMap(({ build }) => build));
      const first = pairs.filter(({ actual }) => !actual?.chains.some(({ hook }) => hook));
      const leftovers = first.flatMap(({ desired }) => dropTable(desired, NEXT));
      if (pairs.length > 0) await this.#nft.attempt([...swaps.flatMap(({ swap }) => swap), ...leftovers]);
      return swaps.map(({ table }) => table);
    } catch (error) {
      const kind = failureKind(error);
      // nft 1.0.6 prints other flags than dormant as one that does not exist.
      const owned = pairs.find(({ actual }) => actual?.flags.some(flag => flag !== "dormant"));
      if (kind === "not-permitted" && owned) throw owner(owned.desired);
      const stuck = kind !== undefined && STUCK.includes(kind) && pairs.some(({ actual }) => actual);
      // If another program changed the table meanwhile, the next try may succeed.
      if (!stuck || !(await this.#isAsRead(pairs))) throw error;
      return this.#replace(pairs, declaration);
    }
  }

  async #isAsRead(pairs: readonly Pair[]): Promise<boolean> {
    const { actual } = await this.#read(pairs.map(({ desired }) => desired.family));
    return pairs.every(pair =>
      Bun.deepEquals(pair.actualText, new Pair(pair.desired, actual.get(pair.desired.family)).actualText),
    );
  }

  async #replace(pairs: readonly Pair[], declaration: Declaration): Promise<readonly Table[]> {
    for (const { desired } of pairs) await replaceWhole(this.#nft, desired, declaration);
    return pairs.map(({ desired }) => desired);
  }
}

/** A table with the flag owner can be changed by the process alone that made it. */
function owner({ family }: Table): ProgramError {
  const table = `table ${family} ${TABLE}`;
  const remedy = `end that process, such as an nft -i that still runs; the table goes with it`;
  return new ProgramError("busy", "nft", `${table} belongs to another process, by its flag owner`, remedy);
}

/** Kinds of refusal for commands that do not fit the state of the table. */
const STUCK: readonly FailureKind[] = ["refused", "busy", "unsupported"];

/** A policy with short lists, for which the same is true of kernel and nft. */
function sample(policy: Policy): Policy {
  const few = ({ effective }: CidrList): CidrList => ({ effective: effective.slice(0, FEW), redundant: [] });
  const families = policy.families.map(it => ({
    ...it,
    sources: it.sources && few(it.sources),
    nonMasqueradeSources: few(it.nonMasqueradeSources),
    masquerade: few(it.masquerade),
    nonMasquerade: few(it.nonMasquerade),
  }));
  return { ...policy, families };
}

const FEW = 3;

/** The table whose rules a probe checks: what ours holds must not affect the answer. */
const PROBE = `${TABLE}-probe`;

/** What the monitor prints of our tables. */
const OURS = new RegExp(`^\\w+ [a-z ]+ ip6? ${TABLE}(\\s|$)`);

/** A table as it is desired and as it is. */
class Pair {
  readonly desiredText: readonly string[];
  readonly actualText: readonly string[];
  readonly inSync: boolean;

  constructor(
    readonly desired: Table,
    readonly actual: Table | undefined,
  ) {
    this.desiredText = tableText(desired);
    this.actualText = actual ? tableText(withoutLetters(actual)) : [];
    this.inSync = Bun.deepEquals(this.desiredText, this.actualText);
  }
}

function versionOf(listed: readonly NftObject[]): string | undefined {
  for (const object of listed) if ("metainfo" in object) return object.metainfo.version;
  return undefined;
}
