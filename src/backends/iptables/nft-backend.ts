import { Cidr, type Family, withLength } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import { IpsecSupport } from "../../nft/ipsec.ts";
import type { Command, NftObject, Statement } from "../../nft/json.ts";
import { type ChainName, Nft } from "../../nft/nft.ts";
import type { Rule } from "../../nft/table.ts";
import { ruleText } from "../../nft/text.ts";
import { traceableRuleset } from "../../nft/traceable.ts";
import type { Policy } from "../../policy/policy.ts";
import type { Host } from "../../system/host.ts";
import { ProgramError } from "../../system/program.ts";
import { type Backend, type Counter, FAMILIES, type Plan, type Watch, type Watcher } from "../backend.ts";
import { NO_IPSEC } from "../limits.ts";
import { DEFAULT_CHAIN, isExemption, isOurComment, ownChainNames } from "../ownership.ts";
import { type CountedRule, counters } from "./counters.ts";
import { address, nftRule } from "./nft-rule.ts";
import { ownTarget, walkChains } from "./own-chains.ts";
import { type Ruleset, ruleset } from "./ruleset.ts";
import { watchNat } from "./watch.ts";

const NAT = "nat";
const POSTROUTING = "POSTROUTING";

/**
 * The chain and the jump in tables `ip nat` and `ip6 nat`, written by nft: for nodes without iptables, whose
 * programs could not read them.
 */
export class NftNatBackend implements Backend {
  readonly name = "iptables";
  readonly writer = "nft";
  readonly place = "nat of nf_tables";
  readonly #nft: Nft;
  readonly #ipsec: IpsecSupport;
  #limits: readonly string[] = [];
  /** What was last planned and could be read, and the chains that it has: a family that fails is not looked at. */
  #policy: Policy | undefined;
  #chains: readonly ChainName[] = [];

  /** @param chain the agent's chain, which is ours whatever it holds */
  constructor(
    programs: Host,
    readonly chain = DEFAULT_CHAIN,
  ) {
    this.#nft = new Nft(programs.argv("nft"));
    this.#ipsec = new IpsecSupport(this.#nft);
  }

  get limits(): readonly string[] {
    return this.#limits;
  }

  async plan(policy: Policy): Promise<Plan> {
    const listings = await Promise.all(
      policy.families.map(async family => {
        const names = ruleset(policy, family).chains.map(({ name }) => name);
        return { family, listed: await this.#list(family.family, names) };
      }),
    );
    const ipsec = await this.#ipsec.has(
      listings.flatMap(({ listed }) => listed.flatMap(it => ("rule" in it ? [it.rule] : []))),
    );
    this.#limits = ipsec ? [] : [NO_IPSEC];
    const halves = listings.map(
      ({ family, listed }) =>
        new Half(ruleset(policy, family, { randomFully: true, ipsec }), listed, policy.chain),
    );
    this.#policy = policy;
    this.#chains = halves.flatMap(({ family, chainNames }) =>
      [POSTROUTING, ...chainNames].map(name => ({ family, table: NAT, name })),
    );
    const commands = halves.flatMap(half => half.commands);
    return {
      actual: halves.flatMap(({ actual }) => actual),
      desired: halves.flatMap(({ desired }) => desired),
      inSync: commands.length === 0,
      writer: `${this.name} by ${this.writer}`,
      counters: halves.flatMap(({ counters }) => counters),
      caution: this.#nft.caution,
      apply: async () => {
        await this.#nft.attempt(commands);
        return halves.flatMap(({ rewritten }) => rewritten);
      },
    };
  }

  async probe(policy: Policy): Promise<ProgramError | undefined> {
    try {
      const abilities = { randomFully: true, ipsec: await this.#ipsec.has([]) };
      const halves = policy.families.map(it => new Half(ruleset(policy, it, abilities), [], policy.chain));
      await this.#nft.check(halves.flatMap(({ commands }) => commands));
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
    return watchNat(this.#nft.argv, () => this.#chains.map(({ name }) => name), look, watcher);
  }

  /** Of POSTROUTING only what leads to chains of ours. */
  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    return (await this.#find(families)).map(half => half.traceableRuleset);
  }

  async actual(families = FAMILIES): Promise<readonly string[]> {
    return (await this.#find(families)).flatMap(({ actual }) => actual);
  }

  async remove(families = FAMILIES): Promise<readonly string[]> {
    const found = await this.#find(families);
    if (found.length > 0) {
      const chains = (await this.#nft.chains()).flatMap(it => ("chain" in it ? [it.chain] : []));
      await this.#nft.commit(found.flatMap(half => half.removal(chains)));
    }
    return found.map(({ actual, family }) => `${actual.length} rules of nft in table ${family} nat`);
  }

  async #find(families: readonly Family[]): Promise<Half[]> {
    const names = [...ownChainNames(this.chain), ...ownChainNames()];
    const halves = families.map(
      async family => new Half({ family }, await this.#list(family, names), this.chain),
    );
    return (await Promise.all(halves)).filter(({ commands }) => commands.length > 0);
  }

  async #list(family: Family, names: readonly string[]): Promise<readonly NftObject[]> {
    const read = (chain: string) => this.#nft.chain(family, NAT, chain);
    const chains = await walkChains(read, names, listed =>
      listed.flatMap(it => ("rule" in it ? ownTarget(targetOf(it.rule), isOurComment(it.rule.comment)) : [])),
    );
    return [...chains.values()].flat();
  }
}

type ActualRule = Rule & { readonly chain: string; readonly handle: number };

/** What is desired of one family, and what there is. */
class Half {
  readonly family: Family;
  readonly actual: readonly string[];
  readonly desired: readonly string[];
  readonly counters: readonly Counter[];
  /** The counters after the commands: those of chains that differ begin anew. */
  readonly rewritten: readonly Counter[];
  /** What leads from one to the other. All of it is one transaction. */
  readonly commands: readonly Command[];
  readonly #chains: ReadonlySet<string>;
  readonly #rules: readonly ActualRule[];
  /** The rules that lead to chains of ours. */
  readonly #jumps: readonly ActualRule[];
  readonly #leftoverChains: readonly string[];
  /** Of the chains that are desired. */
  readonly chainNames: readonly string[];

  /**
   * @param desired without a jump and chains to take everything away
   * @param own the chain that the agent is to have
   */
  constructor(
    desired: Pick<Ruleset, "family"> & Partial<Ruleset>,
    listed: readonly NftObject[],
    own: string,
  ) {
    this.family = desired.family;
    this.chainNames = (desired.chains ?? []).map(({ name }) => name);
    this.#chains = new Set(listed.flatMap(it => ("chain" in it ? [it.chain.name] : [])));
    this.#rules = listed.flatMap(it => ("rule" in it ? [actual(it.rule)] : []));
    const rules = new Map(
      (desired.chains ?? []).map(({ name, rules }) => [name, rules.map(rule => nftRule(this.family, rule))]),
    );
    const jump = desired.jump && nftRule(this.family, desired.jump);
    const leftovers = this.#leftovers(rules, own);
    this.#leftoverChains = leftovers;
    const ours = new Set([...rules.keys(), ...leftovers]);
    const jumps = this.#rules.filter(rule => rule.chain === POSTROUTING && ours.has(targetOf(rule) ?? ""));
    this.#jumps = jumps;
    const right = jumps.find(rule => jump && effect(rule) === effect(jump));
    const wrong = jumps.filter(rule => rule !== right);
    const differing = [...rules].filter(
      ([name, desired]) => lines(this.#rulesOf(name)) !== lines(desired) || !this.#chains.has(name),
    );
    this.actual = [
      ...[...ours].flatMap(name => this.#rulesOf(name).map(rule => this.#line(name, rule))),
      ...(right && jump ? [this.#line(POSTROUTING, jump)] : []),
      ...wrong.map(rule => this.#line(POSTROUTING, rule)),
    ];
    this.desired = [
      ...[...rules].flatMap(([name, desired]) => desired.map(rule => this.#line(name, rule))),
      ...(jump ? [this.#line(POSTROUTING, jump)] : []),
    ];
    const names = ownChainNames(own);
    const [, , outbound = ""] = names;
    const of = (rulesOf: (chain: string) => readonly Rule[]) =>
      counters(
        this.family,
        names.flatMap(name => rulesOf(name).flatMap(rule => counted(name, rule))),
        outbound,
      );
    this.counters = of(name => this.#rulesOf(name));
    const written = new Map(differing);
    this.rewritten = of(name => (rules.has(name) ? (written.get(name) ?? this.#rulesOf(name)) : []));
    this.commands = this.#commands(differing, leftovers, wrong, right ? undefined : jump);
  }

  /** What there is, as rules that can be followed. Made for what takes everything away. */
  get traceableRuleset(): TraceableRuleset {
    const hook = { type: "nat", hook: "postrouting", prio: 100, policy: "accept" };
    const others = [...this.#chains].filter(name => name !== POSTROUTING);
    const chains = [
      { name: POSTROUTING, hook, rules: this.#jumps },
      ...others.map(name => ({ name, rules: this.#rulesOf(name) })),
    ];
    return traceableRuleset({ family: this.family, flags: [], sets: [], chains });
  }

  #rulesOf(chain: string): ActualRule[] {
    return this.#rules.filter(rule => rule.chain === chain);
  }

  #line(chain: string, rule: Rule): string {
    return `nft add rule ${this.family} ${NAT} ${chain} ${ruleText(rule)}`;
  }

  /**
   * Chains of ours that are desired no more: those of which each rule is recognisably ours, empty ones that a jump of ours
   * leads to, and those of our own names. What iptables-nft wrote has no comment that nft could see.
   */
  #leftovers(desired: ReadonlyMap<string, unknown>, own: string): string[] {
    const known = ownChainNames(own);
    return [...this.#chains].filter(name => {
      if (desired.has(name) || name === POSTROUTING) return false;
      if (known.includes(name)) return true;
      const rules = this.#rulesOf(name);
      const all = rules.length > 0 ? rules : this.#rules.filter(rule => targetOf(rule) === name);
      return all.length > 0 && all.every(({ comment }) => isOurComment(comment));
    });
  }

  /**
   * Commands that take everything of ours away, with the table if nothing else is in it: then we made it.
   *
   * @param chains all of the node
   */
  removal(
    chains: readonly { readonly family: string; readonly table: string; readonly name: string }[],
  ): Command[] {
    const ours = [POSTROUTING, ...this.#leftoverChains];
    const isForeign = (it: (typeof chains)[number]) =>
      it.family === this.family && it.table === NAT && !ours.includes(it.name);
    const rules = this.#rulesOf(POSTROUTING).filter(rule => !this.#jumps.includes(rule));
    const isOurs = rules.length === 0 && !chains.some(isForeign);
    return [...this.commands, ...(isOurs ? [{ delete: { table: { family: this.family, name: NAT } } }] : [])];
  }

  #commands(
    differing: readonly (readonly [string, readonly Rule[]])[],
    leftovers: readonly string[],
    wrong: readonly ActualRule[],
    jump: Rule | undefined,
  ): Command[] {
    if (differing.length + leftovers.length + wrong.length === 0 && !jump) return [];
    const { family } = this;
    const named = (name: string) => ({ family, table: NAT, name });
    const add = (chain: string, { comment = "", expr }: Rule): Command => ({
      add: { rule: { family, table: NAT, chain, comment, expr: [...expr] } },
    });
    const base = { type: "nat", hook: "postrouting", prio: 100, policy: "accept" };
    return [
      { add: { table: { family, name: NAT } } },
      ...(this.#chains.has(POSTROUTING) || !jump
        ? []
        : [{ add: { chain: { ...named(POSTROUTING), ...base } } }]),
      ...differing.map(([name]): Command => ({ add: { chain: named(name) } })),
      ...[...differing.map(([name]) => name), ...leftovers].map(
        (name): Command => ({ flush: { chain: named(name) } }),
      ),
      ...differing.flatMap(([name, rules]) => rules.map(rule => add(name, rule))),
      ...(jump ? [add(POSTROUTING, jump)] : []),
      ...wrong.map(
        ({ handle }): Command => ({ delete: { rule: { family, table: NAT, chain: POSTROUTING, handle } } }),
      ),
      ...leftovers.map((name): Command => ({ delete: { chain: named(name) } })),
    ];
  }
}

/** A rule that was not read from the kernel has not counted anything yet. */
function counted(chain: string, { expr, comment, handle }: Rule): CountedRule[] {
  const [count] = expr.flatMap(it => ("counter" in it ? [it.counter ?? { packets: 0, bytes: 0 }] : []));
  if (!count || !isOurComment(comment) || isExemption(comment)) return [];
  const target = expr.some(it => "return" in it)
    ? "RETURN"
    : expr.some(it => "masquerade" in it)
      ? "MASQUERADE"
      : targetOf({ expr });
  const number = handle === undefined ? {} : { handle };
  return [{ cidr: expr.flatMap(destination)[0], chain, target, ...count, ...number }];
}

function actual({
  chain,
  comment,
  expr,
  handle = 0,
}: Extract<NftObject, { rule: unknown }>["rule"]): ActualRule {
  return { chain, expr: expr.map(normal), handle, ...(comment ? { comment } : {}) };
}

/** The statement with its address as we write it: nft lists `::100:0` as `::1.0.0.0`. */
function normal(statement: Statement): Statement {
  const matched = addressOf(statement);
  return matched ? address(matched.cidr.family, matched.field, matched.cidr.text) : statement;
}

function destination(statement: Statement): Cidr[] {
  const matched = addressOf(statement);
  return matched?.field === "daddr" ? [matched.cidr] : [];
}

/** The block of addresses that the statement matches, if it matches one. */
function addressOf(statement: Statement): { field: string; cidr: Cidr } | undefined {
  if (!("match" in statement) || statement.match.op !== "==") return undefined;
  const { left, right } = statement.match;
  if (!("payload" in left)) return undefined;
  const single = typeof right === "string" ? withLength(right) : "";
  const prefix = typeof right === "object" && "prefix" in right ? right.prefix : undefined;
  const cidr = Cidr.parse(prefix ? `${prefix.addr}/${prefix.len}` : single);
  return cidr instanceof Cidr ? { field: left.payload.field, cidr } : undefined;
}

function targetOf({ expr }: Pick<Rule, "expr">): string | undefined {
  for (const it of expr) {
    if ("jump" in it) return it.jump.target;
    if ("goto" in it) return it.goto.target;
  }
  return undefined;
}

/** What a rule does, whatever its comment says and whether it counts. */
function effect({ expr }: Rule): string {
  return ruleText({ expr: expr.filter(it => !("counter" in it)) });
}

function lines(rules: readonly Rule[]): string {
  return rules.map(ruleText).join("\n");
}
