import { TABLE } from "../backends/ownership.ts";
import type { Family } from "../net/cidr.ts";
import type { Action, TraceableRule } from "../net/trace.ts";
import type { BaseChain, TableFamily } from "../nft/json.ts";
import { Nft } from "../nft/nft.ts";
import { meaningOf } from "../nft/traceable.ts";
import { messageOf } from "../system/errors.ts";
import { HOST, type Host } from "../system/host.ts";
import { failureKind, type RunLimits } from "../system/program.ts";
import type { IptablesCommands } from "../xtables/commands.ts";
import { parseRule } from "../xtables/rule.ts";
import { POSTROUTING } from "../xtables/save.ts";
import { traceableRule } from "../xtables/traceable.ts";
import { allCommands } from "../xtables/variant.ts";
import { ForeignTable } from "./foreign-table.ts";
import { ownerOf } from "./owners.ts";

/** A base chain that may translate source addresses, with the chains that it leads to. */
export interface NatHook {
  /** The tool that reads it: iptables-nft cannot read its own chain once nft wrote into it. */
  readonly tool: "nft" | "iptables-nft" | "iptables-legacy";
  readonly family: TableFamily;
  readonly table: string;
  readonly base: string;
  /** Where it is hooked in: lower ones run first; ours is 101. */
  readonly priority: number;
  /** Of base chains with the same priority, the one registered last runs first. True if that is not known. */
  readonly registeredAfterUs: boolean;
  /** Those that were read. Chains of owners whose rules are harmless are not. */
  readonly chains: ReadonlyMap<string, readonly TraceableRule[]>;
}

/** The NAT rules at postrouting, and what could not be read. */
export interface NatHooks {
  readonly hooks: readonly NatHook[];
  /** A sentence for each chain or table that was not read. */
  readonly unread: readonly string[];
  /** Chains on whose rules the answer depends, as in `ip nat POSTROUTING`. */
  readonly visited: ReadonlySet<string>;
}

type Skip = (family: TableFamily, table: string, chain: string) => boolean;

export interface LookOptions {
  readonly programs?: Host;
  /** Chains that are not read, because they are ours. */
  readonly skip?: Skip;
  readonly limits?: Partial<LookLimits>;
  /**
   * If given, only table `nat` of iptables is read, in these families, and only if it may exempt connections from NAT.
   * Otherwise everything that translates is read.
   */
  readonly natOf?: readonly Family[];
}

/** The cost limits of one look, for any foreign ruleset. */
interface LookLimits {
  /** In milliseconds, for all programs together. */
  readonly time: number;
  /** How many chains are read. */
  readonly chains: number;
  /** How much one program may print, in bytes. */
  readonly output: number;
}

const LIMITS: LookLimits = { time: 4000, chains: 256, output: 32 * 1024 * 1024 };

/**
 * Reads the NAT rules at postrouting, of nft and of both variants of iptables: from each base chain along the jumps,
 * chain by chain, so that the cost does not depend on what else is in the tables. It skips chains of kube-proxy and
 * similar programs by name. Throws nothing: `unread` lists what cannot be read.
 */
export async function readNatHooks(options: LookOptions = {}): Promise<NatHooks> {
  return new Look(options).all();
}

const FAMILIES: readonly Family[] = ["ip", "ip6"];

/** iptables' own base chain. */
const NAT = { table: "nat", name: POSTROUTING, prio: 100 } as const;

type Rules = readonly TraceableRule[];
/** Reads one chain; undefined if it does not exist. */
type ReadChain = (chain: string) => Promise<Rules | undefined>;
type Place = Pick<NatHook, "tool" | "family" | "table" | "base" | "priority" | "registeredAfterUs">;

class Look {
  readonly #programs: Host;
  readonly #skip: Skip;
  readonly #most: LookLimits;
  readonly #natOf: readonly Family[] | undefined;
  readonly #end: number;
  readonly #limits: RunLimits;
  readonly #unread: string[] = [];
  readonly #visited = new Set<string>();
  #chains = 0;

  constructor({ programs = HOST, skip = () => false, limits = {}, natOf }: LookOptions) {
    this.#programs = programs;
    this.#natOf = natOf;
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
    const tools = await this.#or([], "the variants of iptables", () =>
      allCommands(this.#programs, this.#limits),
    );
    const byNft = await this.#native(tools.find(({ variant }) => variant === "iptables-nft"));
    const legacy = tools.find(({ variant }) => variant === "iptables-legacy");
    const byLegacy = legacy ? await this.#legacy(legacy) : [];
    return { hooks: [...byNft, ...byLegacy], unread: this.#unread, visited: this.#visited };
  }

  /** The base chains of nftables. Table `nat` is read by iptables-nft where that can be. */
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
    return this.#or(undefined, "the chains of nftables", () => nft.baseChains("nat", "postrouting"));
  }

  /**
   * Table `nat`, if a rule in POSTROUTING may exempt something. Usually none does, and then this is the only program
   * that runs. It asks nft because old versions of iptables-nft create the table when asked.
   */
  async #nat(nft: Nft, families: readonly Family[]): Promise<readonly BaseChain[]> {
    const found = families.map(async (family): Promise<BaseChain[]> => {
      const what = `chain ${NAT.name} of table ${family} ${NAT.table}`;
      const listed = await this.#or(undefined, what, () => nft.chain(family, NAT.table, NAT.name));
      const rules = listed?.flatMap(it => ("rule" in it ? [meaningOf(it.rule.expr, () => undefined)] : []));
      const may = rules?.some(({ action }) => this.#mayExempt(family, action));
      return may ? [{ family, ...NAT, type: "nat", hook: "postrouting" }] : [];
    });
    return (await Promise.all(found)).flat();
  }

  #mayExempt(family: Family, action: Action): boolean {
    if ("to" in action) return !isHarmless(action.to) && !this.#skip(family, NAT.table, action.to);
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
    if (table === "nat" && name === POSTROUTING && family !== "inet" && tools?.has(family)) {
      let readable = true;
      const hook = await this.#walked({ tool: "iptables-nft", ...place }, async chain => {
        try {
          return (await tools.chain(family, chain))?.map(({ rule }) => traceableRule(chain, rule));
        } catch (error) {
          // What nft wrote into table `nat`, iptables cannot read.
          if (failureKind(error) !== "incompatible" || !foreign) throw error;
          if (chain === name) readable = false;
          return foreign.read(chain);
        }
      });
      return readable ? hook : { ...hook, tool: "nft" };
    }
    return foreign && this.#walked({ tool: "nft", ...place }, chain => foreign.read(chain));
  }

  /** The kernel returns table `nat` of iptables-legacy only as a whole. */
  async #legacy(tools: IptablesCommands): Promise<NatHook[]> {
    const hooks: NatHook[] = [];
    for (const family of (this.#natOf ?? FAMILIES).filter(it => tools.has(it))) {
      const text = await this.#or("", `table ${family} nat of iptables-legacy`, () =>
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
    const queue = isHarmless(table) ? [] : [base];
    this.#visited.add(`${family} ${table} ${base}`);
    for (const chain of queue) {
      if (chains.has(chain) || isHarmless(chain) || this.#skip(family, table, chain)) continue;
      const where = `chain ${chain} of table ${family} ${table}`;
      if (++this.#chains > this.#most.chains || performance.now() > this.#end) {
        this.#unread.push(`${where}: too many chains to read all of them`);
        break;
      }
      this.#visited.add(`${family} ${table} ${chain}`);
      const rules = (await this.#or([], where, () => read(chain))) ?? [];
      chains.set(chain, rules);
      queue.push(...rules.flatMap(({ action }) => ("to" in action ? [action.to] : [])));
    }
    return { ...place, chains };
  }

  async #or<T>(otherwise: T, what: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      this.#unread.push(`${what}: ${messageOf(error)}`);
      return otherwise;
    }
  }
}

/** Whether the owner of that name catches only packets that it marked itself. */
function isHarmless(name: string): boolean {
  return ownerOf([name]).expected ?? false;
}

/**
 * Whether a base chain came into its hook after ours of the same priority. The kernel lists the chains of an older table
 * first; one that was added to an older table later is taken for older than it is.
 */
function isRegisteredAfterUs(
  { family, table, name, prio }: Omit<BaseChain, "type" | "hook">,
  all: readonly BaseChain[],
): boolean {
  const own = (it: BaseChain) => it.table === TABLE || (it.table === NAT.table && it.name === NAT.name);
  const ours = all.findIndex(
    it => own(it) && it.prio === prio && (family === "inet" || it.family === family),
  );
  const theirs = all.findIndex(it => it.family === family && it.table === table && it.name === name);
  return theirs > ours;
}

/** The rules of each chain that iptables-save printed, behind `-A CHAIN`, but for those that are known to be harmless. */
function linesByChain(text: string): Map<string, string[]> {
  const chains = new Map<string, string[]>();
  for (const [, chain = "", words = ""] of text.matchAll(/^-A (?!KUBE-S)(\S+) ?(.*)$/gm)) {
    const lines = chains.get(chain);
    if (lines) lines.push(words);
    else chains.set(chain, [words]);
  }
  return chains;
}
