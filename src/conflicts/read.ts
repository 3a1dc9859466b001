import { FAMILIES, type Family } from "../net/cidr.ts";
import type { Action, TraceableRule } from "../net/trace.ts";
import type { BaseChain, TableFamily } from "../nft/json.ts";
import { Nft } from "../nft/nft.ts";
import type { NodeTables } from "../nft/node-tables.ts";
import { meaningOf } from "../nft/traceable.ts";
import { messageOf } from "../system/errors.ts";
import { HOST, type Host } from "../system/host.ts";
import { failureKind, type RunLimits } from "../system/program.ts";
import type { IptablesCommands } from "../xtables/commands.ts";
import { parseRule } from "../xtables/rule.ts";
import { traceableRule } from "../xtables/traceable.ts";
import { allCommands } from "../xtables/variant.ts";
import { ForeignTable } from "./foreign-table.ts";
import { isRegisteredAfterUs, NAT, type NatHook } from "./nat-hook.ts";
import { isExpected } from "./owners.ts";

/** The NAT rules at postrouting. */
export interface NatHooks {
  readonly hooks: readonly NatHook[];
  /** A sentence for each chain or table that was not read. */
  readonly unread: readonly string[];
  /** The chains that the result depends on, as in `ip nat POSTROUTING`. */
  readonly visited: ReadonlySet<string>;
}

type Skip = (family: TableFamily, table: string, chain: string) => boolean;

export interface ReadOptions {
  readonly programs?: Host;
  /** Returns true for chains that need not be read because they are ours. */
  readonly skip?: Skip;
  readonly limits?: Partial<ReadLimits>;
  /** Whether to read the chains of expected owners, too. */
  readonly expected?: boolean;
  /**
   * Reads only table `nat` of iptables in these families, and only if it may exempt connections from NAT. By default,
   * reads every table that may translate.
   */
  readonly natOf?: readonly Family[];
  /** The tables of nf_tables, if they are known. */
  readonly tables?: NodeTables | undefined;
}

/** Limits the cost of one reading, for any foreign ruleset. */
interface ReadLimits {
  /** Milliseconds for all programs together. */
  readonly time: number;
  /** The maximum number of chains to read. */
  readonly chains: number;
  /** The maximum number of bytes that one program may print. */
  readonly output: number;
}

const LIMITS: ReadLimits = { time: 4000, chains: 256, output: 32 * 1024 * 1024 };

/**
 * Reads the NAT rules at postrouting of nft and of both iptables variants. Follows jumps from each base chain, chain by
 * chain, so the cost does not depend on the rest of the tables. Skips chains of expected owners such as kube-proxy.
 * Throws nothing: `unread` lists failures.
 */
export async function readNatHooks(options: ReadOptions = {}): Promise<NatHooks> {
  return new Reader(options).all();
}

type Rules = readonly TraceableRule[];
/** Reads one chain; undefined if it does not exist. */
type ReadChain = (chain: string) => Promise<Rules | undefined>;
type Place = Omit<NatHook, "chains">;

class Reader {
  readonly #programs: Host;
  readonly #skip: Skip;
  readonly #most: ReadLimits;
  readonly #natOf: readonly Family[] | undefined;
  readonly #tables: NodeTables | undefined;
  readonly #isExpected: (name: string) => boolean;
  readonly #end: number;
  readonly #limits: RunLimits;
  readonly #unread: string[] = [];
  readonly #visited = new Set<string>();
  #chains = 0;

  constructor({ programs = HOST, skip = () => false, limits = {}, natOf, tables, expected }: ReadOptions) {
    this.#programs = programs;
    this.#natOf = natOf;
    this.#tables = tables;
    this.#isExpected = expected ? () => false : isExpected;
    this.#skip = skip;
    this.#most = { ...LIMITS, ...limits };
    const end = performance.now() + this.#most.time;
    this.#end = end;
    this.#limits = {
      get deadline() {
        return Math.max(1, end - performance.now());
      },
      mostOutput: this.#most.output,
    };
  }

  async all(): Promise<NatHooks> {
    const tools = await this.#readOr([], "the variants of iptables", () =>
      allCommands(this.#programs, this.#limits),
    );
    const byNft = await this.#native(tools.find(({ variant }) => variant === "iptables-nft"));
    const legacy = tools.find(({ variant }) => variant === "iptables-legacy");
    const byLegacy = legacy ? await this.#legacy(legacy) : [];
    return { hooks: [...byNft, ...byLegacy], unread: this.#unread, visited: this.#visited };
  }

  /** Reads the base chains of nf_tables; table `nat` with iptables-nft if it is installed. */
  async #native(tools: IptablesCommands | undefined): Promise<NatHook[]> {
    const nft = this.#programs.has("nft") ? new Nft(this.#programs.argv("nft"), this.#limits) : undefined;
    const bases = nft && (this.#natOf ? await this.#nat(nft, this.#natOf) : await this.#bases(nft));
    const hooks: NatHook[] = [];
    for (const base of bases ?? (this.#natOf ?? FAMILIES).map(family => ({ family, ...NAT }))) {
      const hook = await this.#hook(base, bases ?? [], nft, tools);
      if (hook) hooks.push(hook);
    }
    return hooks;
  }

  #bases(nft: Nft): Promise<readonly BaseChain[] | undefined> {
    return this.#readOr(undefined, "the chains of nftables", () => nft.baseChains("nat", "postrouting"));
  }

  /**
   * Returns table `nat` if a rule in POSTROUTING may exempt connections. Usually no rule does, and nft is the only
   * program that runs. Old versions of iptables-nft would create the table when they read it.
   */
  async #nat(nft: Nft, families: readonly Family[]): Promise<readonly BaseChain[]> {
    const found = families.map(async (family): Promise<BaseChain[]> => {
      if (this.#tables?.has(family, NAT.table) === false) return [];
      const what = `chain ${NAT.name} of table ${family} ${NAT.table}`;
      const listed = await this.#readOr(undefined, what, () => nft.chain(family, NAT.table, NAT.name));
      const rules = listed?.flatMap(it => ("rule" in it ? [meaningOf(it.rule.expr, () => undefined)] : []));
      const may = rules?.some(({ action }) => this.#mayExempt(family, action));
      return may ? [{ family, ...NAT, type: "nat", hook: "postrouting" }] : [];
    });
    return (await Promise.all(found)).flat();
  }

  #mayExempt(family: Family, action: Action): boolean {
    if ("to" in action) return !isExpected(action.to) && !this.#skip(family, NAT.table, action.to);
    return ["accept", "return", "unknown"].includes(action.does);
  }

  async #hook(
    base: Omit<BaseChain, "type" | "hook">,
    bases: readonly BaseChain[],
    nft: Nft | undefined,
    tools: IptablesCommands | undefined,
  ): Promise<NatHook | undefined> {
    const { family, table, name, prio } = base;
    const registeredAfterUs = isRegisteredAfterUs(base, bases);
    const place = { family, table, base: name, priority: prio, registeredAfterUs };
    if (this.#skip(family, table, name)) return undefined;
    const failed = (what: string, error: unknown) => void this.#unread.push(`${what}: ${messageOf(error)}`);
    const foreign = nft && new ForeignTable(nft, family, table, failed);
    if (table === NAT.table && name === NAT.name && family !== "inet" && tools?.has(family)) {
      let readable = true;
      const hook = await this.#walked({ tool: "iptables-nft", ...place }, async chain => {
        try {
          return (await tools.chain(family, chain))?.map(({ rule }) => traceableRule(chain, rule));
        } catch (error) {
          // iptables cannot read native nft rules.
          if (failureKind(error) !== "incompatible" || !foreign) throw error;
          if (chain === name) readable = false;
          return foreign.read(chain);
        }
      });
      return readable ? hook : { ...hook, tool: "nft" };
    }
    return foreign && this.#walked({ tool: "nft", ...place }, chain => foreign.read(chain));
  }

  /** Reads table `nat` of iptables-legacy as a whole: the kernel returns no single chains. */
  async #legacy(tools: IptablesCommands): Promise<NatHook[]> {
    const hooks: NatHook[] = [];
    for (const family of (this.#natOf ?? FAMILIES).filter(it => tools.has(it))) {
      const text = await this.#readOr("", `table ${family} nat of iptables-legacy`, () =>
        tools.print(family, "nat"),
      );
      if (text === "") continue;
      const chains = linesByChain(text);
      const place = { family, table: NAT.table, base: NAT.name, priority: NAT.prio, registeredAfterUs: true };
      hooks.push(
        await this.#walked({ tool: "iptables-legacy", ...place }, async chain =>
          chains.get(chain)?.map(words => traceableRule(chain, parseRule(words))),
        ),
      );
    }
    return hooks;
  }

  async #walked(place: Place, read: ReadChain): Promise<NatHook> {
    const { family, table, base } = place;
    const chains = new Map<string, Rules>();
    const queue = this.#isExpected(table) ? [] : [base];
    const seen = new Set<string>();
    this.#visited.add(`${family} ${table} ${base}`);
    for (const chain of queue) {
      if (seen.has(chain) || this.#isExpected(chain) || this.#skip(family, table, chain)) continue;
      seen.add(chain);
      const where = `chain ${chain} of table ${family} ${table}`;
      if (++this.#chains > this.#most.chains || performance.now() > this.#end) {
        this.#unread.push(`${where}: too many chains to read all of them`);
        break;
      }
      this.#visited.add(`${family} ${table} ${chain}`);
      const rules = await this.#readOr(undefined, where, () => read(chain));
      if (!rules) continue; // not a chain, but a target of an unknown extension
      chains.set(chain, rules);
      queue.push(...rules.flatMap(({ action }) => ("to" in action ? [action.to] : [])));
    }
    return { ...place, chains };
  }

  async #readOr<T>(otherwise: T, what: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      this.#unread.push(`${what}: ${messageOf(error)}`);
      return otherwise;
    }
  }
}

/** Groups the output of iptables-save by chain, without `-A CHAIN`. Leaves out rules of kube-proxy's Services. */
function linesByChain(text: string): Map<string, string[]> {
  const declared = text.matchAll(/^:(?!KUBE-S)(\S+)/gm);
  const chains = new Map<string, string[]>(Array.from(declared, ([, chain = ""]) => [chain, []]));
  for (const [, chain = "", words = ""] of text.matchAll(/^-A (?!KUBE-S)(\S+) ?(.*)$/gm)) {
    const lines = chains.get(chain);
    if (lines) lines.push(words);
    else chains.set(chain, [words]);
  }
  return chains;
}
