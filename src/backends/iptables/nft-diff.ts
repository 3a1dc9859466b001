import type { Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import type { Command, NftObject } from "../../nft/json.ts";
import type { Rule } from "../../nft/table.ts";
import { ruleText } from "../../nft/text.ts";
import { traceableRuleset } from "../../nft/traceable.ts";
import { POSTROUTING } from "../../xtables/save.ts";
import type { Counter } from "../backend.ts";
import { isOurComment, ownChainNames } from "../ownership.ts";
import { counters, newCounters } from "./counters.ts";
import { decidesFirst } from "./enforce.ts";
import {
  type ChainChange,
  changeOf,
  commandsOf,
  needsListing,
  type Place,
  ruleOf,
  rulesAfter,
} from "./nft-chain-change.ts";
import { type ActualRule, actualRule, countedRule, nftRule, targetOf } from "./nft-rule.ts";
import type { Ruleset } from "./ruleset.ts";

export const NAT = "nat";

/** The base chain of a new table `nat`. */
const HOOK = { type: "nat", hook: "postrouting", prio: 100, policy: "accept" };

/** Our desired and actual rules in table `nat` of one family. */
export class TableDiff {
  readonly family: Family;
  /** The commands that turn actual into desired rules, in one transaction; empty if the rules are equal. */
  readonly commands: readonly Command[];
  /** Whether the commands need counts or handles that only a listing has. */
  readonly needsListing: boolean;
  readonly #chains: ReadonlySet<string>;
  readonly #rules: readonly ActualRule[];
  readonly #desired: ReadonlyMap<string, readonly Rule[]>;
  readonly #leftovers: readonly string[];
  /** The rules of POSTROUTING that lead to our chains. */
  readonly #jumps: readonly ActualRule[];
  readonly #jump: Rule | undefined;
  /** The rule of POSTROUTING that is equivalent to the desired jump. */
  readonly #right: ActualRule | undefined;
  /** The desired jump that must decide before foreign rules, and the rule of POSTROUTING that does so. */
  readonly #first: Rule | undefined;
  readonly #rightFirst: ActualRule | undefined;
  readonly #changes: readonly ChainChange[];

  /**
   * @param desired the desired rules; without jump and chains to remove our rules
   * @param chain the agent's chain
   */
  constructor(
    readonly desired: Pick<Ruleset, "family"> & Partial<Ruleset>,
    listed: readonly NftObject[],
    readonly chain: string,
  ) {
    const { family } = desired;
    this.family = family;
    this.#chains = new Set(listed.flatMap(it => ("chain" in it ? [it.chain.name] : [])));
    this.#rules = listed.flatMap(it => ("rule" in it ? [actualRule(it.rule)] : []));
    this.#desired = new Map(
      (desired.chains ?? []).map(({ name, rules }) => [name, rules.map(rule => nftRule(family, rule))]),
    );
    this.#leftovers = this.#leftoverChains();
    const ours = new Set([...this.#desired.keys(), ...this.#leftovers]);
    this.#jumps = this.#rulesOf(POSTROUTING).filter(rule => ours.has(targetOf(rule) ?? ""));
    const jump = desired.jump && nftRule(family, desired.jump);
    this.#jump = jump;
    this.#right = this.#jumps.find(rule => jump && effectText(rule) === effectText(jump));
    this.#first = desired.first && nftRule(family, desired.first);
    this.#rightFirst = this.#first && this.#jumpThatDecidesFirst(this.#first);
    this.#changes = [...this.#desired].flatMap(
      ([name, rules]) =>
        changeOf(name, this.#chains.has(name) ? this.#rulesOf(name) : undefined, rules) ?? [],
    );
    this.needsListing =
      this.#leftovers.length > 0 ||
      this.#changes.some(needsListing) ||
      this.#wrong.some(({ handle }) => handle === 0);
    this.commands = this.#commands();
  }

  get actualText(): readonly string[] {
    const names = [...this.#desired.keys(), ...this.#leftovers];
    return [
      ...names.flatMap(name => this.#rulesOf(name).map(rule => this.#line(name, rule))),
      ...(this.#rightFirst && this.#first ? [this.#line(POSTROUTING, this.#first, "insert")] : []),
      ...(this.#right && this.#jump ? [this.#line(POSTROUTING, this.#jump)] : []),
      ...this.#wrong.map(rule => this.#line(POSTROUTING, rule)),
    ];
  }

  get desiredText(): readonly string[] {
    return [
      ...[...this.#desired].flatMap(([name, rules]) => rules.map(rule => this.#line(name, rule))),
      ...(this.#first ? [this.#line(POSTROUTING, this.#first, "insert")] : []),
      ...(this.#jump ? [this.#line(POSTROUTING, this.#jump)] : []),
    ];
  }

  get counters(): readonly Counter[] {
    return this.#counters(name => this.#rulesOf(name));
  }

  /** The counters right after the commands. Counters of rewritten chains start at zero. */
  get countersAfter(): readonly Counter[] {
    const after = new Map(this.#changes.map(change => [change.name, rulesAfter(change)]));
    return this.#counters(name => (this.#desired.has(name) ? (after.get(name) ?? this.#rulesOf(name)) : []));
  }

  /** Our chains after the commands, as nft would list them. The handles of new rules are not known. */
  get after(): readonly NftObject[] {
    const { family } = this;
    const changed = new Map(this.#changes.map(change => [change.name, rulesAfter(change)]));
    const others = this.#rulesOf(POSTROUTING).filter(rule => !this.#wrong.includes(rule));
    const jump = this.#jump && !this.#right ? [this.#jump] : [];
    const first = this.#first && !this.#rightFirst ? [this.#first] : [];
    const chains = new Map<string, readonly Rule[]>([[POSTROUTING, [...first, ...others, ...jump]]]);
    for (const name of this.#desired.keys()) chains.set(name, changed.get(name) ?? this.#rulesOf(name));
    return [...chains].flatMap(([chain, rules]): NftObject[] => [
      { chain: { family, table: NAT, name: chain } },
      ...rules.map(it => ({
        rule: { ...ruleOf({ family, table: NAT, chain }, it), ...(it.handle ? { handle: it.handle } : {}) },
      })),
    ]);
  }

  /** The counters that the commands create. They begin at zero. */
  get createdCounters(): readonly Counter[] {
    return newCounters(this.counters, this.countersAfter);
  }

  /** The number of desired rules. */
  get size(): number {
    return [...this.#desired.values()].reduce((sum, rules) => sum + rules.length, 0);
  }

  /** The actual rules, to trace packets through. Call it on a diff that removes our rules. */
  get traceableRuleset(): TraceableRuleset {
    const others = [...this.#chains].filter(name => name !== POSTROUTING);
    const chains = [
      { name: POSTROUTING, hook: HOOK, rules: this.#jumps },
      ...others.map(name => ({ name, rules: this.#rulesOf(name) })),
    ];
    return traceableRuleset({ family: this.family, flags: [], sets: [], chains });
  }

  /**
   * Commands that remove our rules. They also remove the table if it has no other rules or chains, because then we
   * made it.
   *
   * @param all all chains of the node
   */
  removal(
    all: readonly { readonly family: string; readonly table: string; readonly name: string }[],
  ): Command[] {
    const ours = [POSTROUTING, ...this.#leftovers];
    const isForeign = (it: (typeof all)[number]) =>
      it.family === this.family && it.table === NAT && !ours.includes(it.name);
    const foreignRules = this.#rulesOf(POSTROUTING).filter(rule => !this.#jumps.includes(rule));
    const isOurs = foreignRules.length === 0 && !all.some(isForeign);
    return [...this.commands, ...(isOurs ? [{ delete: { table: { family: this.family, name: NAT } } }] : [])];
  }

  /** The jumps to delete. */
  get #wrong(): readonly ActualRule[] {
    return this.#jumps.filter(rule => rule !== this.#right && rule !== this.#rightFirst);
  }

  #rulesOf(chain: string): ActualRule[] {
    return this.#rules.filter(rule => rule.chain === chain);
  }

  /** The rule of POSTROUTING that is equivalent to a jump, if it decides before foreign rules. */
  #jumpThatDecidesFirst(jump: Rule): ActualRule | undefined {
    const rules = this.#rulesOf(POSTROUTING);
    const found = rules.find(rule => effectText(rule) === effectText(jump));
    return found && decidesFirst(rules.slice(0, rules.indexOf(found)).map(targetOf)) ? found : undefined;
  }

  #line(chain: string, rule: Rule, command: "add" | "insert" = "add"): string {
    return `nft ${command} rule ${this.family} ${NAT} ${chain} ${ruleText(rule)}`;
  }

  #counters(rulesOf: (chain: string) => readonly Rule[]): Counter[] {
    return counters(this.family, name => rulesOf(name).flatMap(rule => countedRule(name, rule)), this.chain);
  }

  /**
   * Our chains that are not desired: chains with our names, chains with only recognisable rules of ipmasq or
   * ip-masq-agent, and empty chains that only our jumps lead to. nft does not see the comments of iptables-nft.
   */
  #leftoverChains(): string[] {
    const known = ownChainNames(this.chain);
    return [...this.#chains].filter(name => {
      if (this.#desired.has(name) || name === POSTROUTING) return false;
      if (known.includes(name)) return true;
      const rules = this.#rulesOf(name);
      const all = rules.length > 0 ? rules : this.#rules.filter(rule => targetOf(rule) === name);
      return all.length > 0 && all.every(({ comment }) => isOurComment(comment));
    });
  }

  #commands(): Command[] {
    const [leftovers, wrong, changed] = [this.#leftovers, this.#wrong, this.#changes];
    const jump = this.#right ? undefined : this.#jump;
    const first = this.#rightFirst ? undefined : this.#first;
    if (changed.length + leftovers.length + wrong.length === 0 && !jump && !first) return [];
    const { family } = this;
    const named = (name: string) => ({ family, table: NAT, name });
    const whole = changed.filter(({ edits }) => edits === undefined);
    const place = (chain: string): Place => ({ family, table: NAT, chain });
    return [
      { add: { table: { family, name: NAT } } },
      ...(this.#chains.has(POSTROUTING) || !jump
        ? []
        : [{ add: { chain: { ...named(POSTROUTING), ...HOOK } } }]),
      ...whole.map(({ name }): Command => ({ add: { chain: named(name) } })),
      ...[...whole.map(({ name }) => name), ...leftovers].map(
        (name): Command => ({ flush: { chain: named(name) } }),
      ),
      ...changed.flatMap(it => commandsOf(it, place(it.name))),
      ...(jump ? [{ add: { rule: ruleOf(place(POSTROUTING), jump) } }] : []),
      ...(first ? [{ insert: { rule: ruleOf(place(POSTROUTING), first) } }] : []),
      ...wrong.map(
        ({ handle }): Command => ({ delete: { rule: { family, table: NAT, chain: POSTROUTING, handle } } }),
      ),
      ...leftovers.map((name): Command => ({ delete: { chain: named(name) } })),
    ];
  }
}

/** The effect of a rule, without its comment and its counter. */
function effectText({ expr }: Rule): string {
  return ruleText({ expr: expr.filter(it => !("counter" in it)) });
}
