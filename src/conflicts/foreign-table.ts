import { Cidr } from "../net/cidr.ts";
import type { Condition, TraceableRule } from "../net/trace.ts";
import type { NftObject, Statement, TableFamily } from "../nft/json.ts";
import type { Nft } from "../nft/nft.ts";
import { tableOf } from "../nft/table.ts";
import { ruleText } from "../nft/text.ts";
import { type Blocks, meaningOf } from "../nft/traceable.ts";

type Rule = Extract<NftObject, { rule: unknown }>["rule"];

/** Reads an nftables table chain by chain, with the sets and verdict maps that its rules use. */
export class ForeignTable {
  readonly #sets = new Map<string, readonly Cidr[] | undefined>();
  readonly #targets = new Map<string, readonly string[]>();

  constructor(
    readonly nft: Nft,
    readonly family: TableFamily,
    readonly table: string,
    /** Receives failures to read a set or map. Rules that use it count as not understood. */
    readonly failed: (what: string, error: unknown) => void,
  ) {}

  /** Returns the rules of a chain; undefined if it does not exist. Throws ProgramError. */
  async read(chain: string): Promise<readonly TraceableRule[] | undefined> {
    const listed = await this.nft.chain(this.family, this.table, chain);
    if (!listed) return undefined;
    const rules = listed.flatMap(it => ("rule" in it ? [it.rule] : []));
    const names = new Set(rules.flatMap(({ expr }) => expr.flatMap(setsOf)));
    for (const name of names) await this.#readSet(name);
    const maps = new Set(rules.flatMap(({ expr }) => expr.flatMap(mapsOf)));
    for (const name of maps) await this.#readMap(name);
    const shown = rules.some(({ expr }) =>
      expr.some(it => "unknown" in it || "masquerade" in it || "snat" in it),
    );
    const texts = shown
      ? await this.nft.chainTexts(this.family, this.table, chain).catch(() => new Map<number, string>())
      : new Map<number, string>();
    return rules.flatMap(rule => this.#meanings(rule, texts.get(rule.handle ?? 0) ?? wordsOf(rule)));
  }

  /** Returns one rule, or one for each target of a verdict map. */
  #meanings({ expr }: Rule, text: string): TraceableRule[] {
    const at = expr.findIndex(it => "unknown" in it && it.unknown.startsWith('{"vmap":'));
    const { conditions, action } = meaningOf(at < 0 ? expr : expr.slice(0, at), this.#blocks);
    const all = [...(this.family === "inet" ? expr.flatMap(familyOf) : []), ...conditions];
    if (at < 0) return [{ text, conditions: all, action }];
    const open: Condition[] = [...all, { on: "unknown" }];
    const map = expr[at];
    const targets = [
      ...(map ? mapsOf(map).flatMap(name => this.#targets.get(name) ?? []) : []),
      ...(map && "unknown" in map ? targetsIn(map.unknown) : []),
    ];
    return [
      ...new Set(targets)
        .values()
        .map((to): TraceableRule => ({ text, conditions: open, action: { does: "jump", to } })),
      { text, conditions: open, action: { does: "accept" } },
    ];
  }

  readonly #blocks: Blocks = name => this.#sets.get(name);

  /** Reads a set. A set with elements other than CIDRs counts as not understood. */
  async #readSet(name: string): Promise<void> {
    if (this.#sets.has(name)) return;
    this.#sets.set(name, undefined);
    const listed = await this.#readOr([], `set ${name}`, () => this.nft.set(this.family, this.table, name));
    const table = tableOf("ip", [{ table: { family: this.family, name: this.table } }, ...listed]);
    const elements = table?.sets.find(it => it.name === name)?.elements;
    const cidrs = elements?.flatMap(({ value }) => (value instanceof Cidr ? value : []));
    if (cidrs && cidrs.length === elements?.length) this.#sets.set(name, cidrs);
  }

  async #readMap(name: string): Promise<void> {
    if (this.#targets.has(name)) return;
    const map = await this.#readOr("", `map ${name}`, () => this.nft.map(this.family, this.table, name));
    this.#targets.set(name, targetsIn(map));
  }

  async #readOr<T>(otherwise: T, what: string, read: () => Promise<T | undefined>): Promise<T> {
    try {
      return (await read()) ?? otherwise;
    } catch (error) {
      this.failed(`${what} of table ${this.family} ${this.table}`, error);
      return otherwise;
    }
  }
}

function wordsOf({ expr, comment }: Rule): string {
  return ruleText({ expr, ...(comment !== undefined && { comment }) });
}

/** The named sets in which a statement looks up addresses. */
function setsOf(statement: Statement): string[] {
  if (!("match" in statement)) return [];
  const { left, right } = statement.match;
  if (!("payload" in left) || typeof right !== "string" || !right.startsWith("@")) return [];
  return [right.slice(1)];
}

/** The named verdict map that a statement uses. */
function mapsOf(statement: Statement): string[] {
  const text = "unknown" in statement ? statement.unknown : "";
  const name = text.startsWith('{"vmap":') ? /"data":"@((?:[^"\\]|\\.)*)"/.exec(text)?.[1] : undefined;
  return name === undefined ? [] : [name];
}

/** The chains that a verdict map, given as JSON text, leads to. */
function targetsIn(json: string): string[] {
  const targets = json.matchAll(/"(?:jump|goto)":\s*\{"target":\s*"((?:[^"\\]|\\.)*)"\}/g);
  return Array.from(targets, ([, name = ""]) => name.replace(/\\(.)/g, "$1"));
}

/** In a table of both families, a match on an address limits the rule to the family of the address. */
function familyOf(statement: Statement): Condition[] {
  if (!("match" in statement) || !("payload" in statement.match.left)) return [];
  return [{ on: "family", not: false, family: statement.match.left.payload.protocol }];
}
