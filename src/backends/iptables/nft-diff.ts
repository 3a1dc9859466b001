import type { Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import type { Command, NftObject } from "../../nft/json.ts";
import type { Rule } from "../../nft/table.ts";
import { ruleText } from "../../nft/text.ts";
import { traceableRuleset } from "../../nft/traceable.ts";
import { POSTROUTING } from "../../xtables/save.ts";
import type { Counter } from "../backend.ts";
import { isExemption, isOurComment, ownChainNames } from "../ownership.ts";
import { type CountedRule, counters } from "./counters.ts";
import { type ActualRule, actualRule, destinationOf, nftRule, targetOf } from "./nft-rule.ts";
import type { Ruleset } from "./ruleset.ts";

export const NAT = "nat";

/** The base chain of a new table `nat`. */
const HOOK = { type: "nat", hook: "postrouting", prio: 100, policy: "accept" };

/** Our desired and actual rules in table `nat` of one family. */
export class TableDiff {
  readonly family: Family;
  readonly actualText: readonly string[];
  readonly desiredText: readonly string[];
  readonly counters: readonly Counter[];
  /** The counters right after the commands. Counters of rewritten chains start at zero. */
  readonly countersAfter: readonly Counter[];
  /** The commands that turn actual into desired rules, in one transaction; empty if the rules are equal. */
  readonly commands: readonly Command[];
  readonly #chains: ReadonlySet<string>;
  readonly #rules: readonly ActualRule[];
  readonly #desired: ReadonlyMap<string, readonly Rule[]>;
  readonly #leftovers: readonly string[];
  /** The rules of POSTROUTING that lead to our chains. */
  readonly #jumps: readonly ActualRule[];

  /**
   * @param desired the desired rules; without jump and chains to remove our rules
   * @param chain the agent's chain
   */
  constructor(
    desired: Pick<Ruleset, "family"> & Partial<Ruleset>,
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
    const right = this.#jumps.find(rule => jump && effectText(rule) === effectText(jump));
    const wrong = this.#jumps.filter(rule => rule !== right);
    const changed = new Map(
      [...this.#desired].filter(
        ([name, rules]) => text(this.#rulesOf(name)) !== text(rules) || !this.#chains.has(name),
      ),
    );
    this.actualText = [
      ...[...ours].flatMap(name => this.#rulesOf(name).map(rule => this.#line(name, rule))),
      ...(right && jump ? [this.#line(POSTROUTING, jump)] : []),
      ...wrong.map(rule => this.#line(POSTROUTING, rule)),
    ];
    this.desiredText = [
      ...[...this.#desired].flatMap(([name, rules]) => rules.map(rule => this.#line(name, rule))),
      ...(jump ? [this.#line(POSTROUTING, jump)] : []),
    ];
    this.counters = this.#counters(name => this.#rulesOf(name));
    this.countersAfter = this.#counters(name =>
      this.#desired.has(name) ? (changed.get(name) ?? this.#rulesOf(name)) : [],
    );
    this.commands = this.#commandsFor(changed, wrong, right ? undefined : jump);
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

  #rulesOf(chain: string): ActualRule[] {
    return this.#rules.filter(rule => rule.chain === chain);
  }

  #line(chain: string, rule: Rule): string {
    return `nft add rule ${this.family} ${NAT} ${chain} ${ruleText(rule)}`;
  }

  #counters(rulesOf: (chain: string) => readonly Rule[]): Counter[] {
    return counters(this.family, name => rulesOf(name).flatMap(rule => counted(name, rule)), this.chain);
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

  #commandsFor(
    changed: ReadonlyMap<string, readonly Rule[]>,
    wrong: readonly ActualRule[],
    jump: Rule | undefined,
  ): Command[] {
    const leftovers = this.#leftovers;
    if (changed.size + leftovers.length + wrong.length === 0 && !jump) return [];
    const { family } = this;
    const named = (name: string) => ({ family, table: NAT, name });
    const add = (chain: string, { comment = "", expr }: Rule): Command => ({
      add: { rule: { family, table: NAT, chain, comment, expr: [...expr] } },
    });
    return [
      { add: { table: { family, name: NAT } } },
      ...(this.#chains.has(POSTROUTING) || !jump
        ? []
        : [{ add: { chain: { ...named(POSTROUTING), ...HOOK } } }]),
      ...[...changed.keys()].map((name): Command => ({ add: { chain: named(name) } })),
      ...[...changed.keys(), ...leftovers].map((name): Command => ({ flush: { chain: named(name) } })),
      ...[...changed].flatMap(([name, rules]) => rules.map(rule => add(name, rule))),
      ...(jump ? [add(POSTROUTING, jump)] : []),
      ...wrong.map(
        ({ handle }): Command => ({ delete: { rule: { family, table: NAT, chain: POSTROUTING, handle } } }),
      ),
      ...leftovers.map((name): Command => ({ delete: { chain: named(name) } })),
    ];
  }
}

/** The counts of one of our rules. A rule that was not read from the kernel has zero counts. */
function counted(chain: string, rule: Rule): CountedRule[] {
  const { expr, comment, handle } = rule;
  const [count] = expr.flatMap(it =>
    "counter" in it && typeof it.counter !== "string" ? [it.counter ?? { packets: 0, bytes: 0 }] : [],
  );
  if (!count || !isOurComment(comment) || isExemption(comment)) return [];
  const target = expr.some(it => "return" in it)
    ? "RETURN"
    : expr.some(it => "masquerade" in it || "snat" in it)
      ? "MASQUERADE"
      : targetOf(rule);
  const number = handle === undefined ? {} : { handle };
  return [{ cidr: destinationOf(rule), chain, target, ...count, ...number }];
}

/** The effect of a rule, without its comment and its counter. */
function effectText({ expr }: Rule): string {
  return ruleText({ expr: expr.filter(it => !("counter" in it)) });
}

function text(rules: readonly Rule[]): string {
  return rules.map(ruleText).join("\n");
}
