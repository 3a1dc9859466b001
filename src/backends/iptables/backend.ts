import { Cidr, type Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import type { FamilyPolicy, Policy } from "../../policy/policy.ts";
import { failureKind, ProgramError } from "../../system/program.ts";
import { type IptablesCommands, legacyTables } from "../../xtables/commands.ts";
import { IpsecSupport } from "../../xtables/ipsec.ts";
import { optionOf, targetOf } from "../../xtables/rule.ts";
import { type Counted, POSTROUTING, type Saved } from "../../xtables/save.ts";
import { traceableRule } from "../../xtables/traceable.ts";
import { type Backend, type Counter, FAMILIES, type Plan, type Watch, type Watcher } from "../backend.ts";
import { NO_IPSEC } from "../limits.ts";
import { DEFAULT_CHAIN, isExemption, ownChainNames } from "../ownership.ts";
import { POLL_MS, poll } from "../poll.ts";
import { type CountedRule, counters } from "./counters.ts";
import { enforceKept } from "./enforce-kept.ts";
import { isOurs, readOwnChains } from "./own-chains.ts";
import { actualLines, desiredLines, jumpsOf, prefixed, restored, restoreInput } from "./restore.ts";
import { type Ruleset, ruleset } from "./ruleset.ts";
import { watchNat } from "./watch.ts";

/** One chain in table `nat`, and a jump to it, as ip-masq-agent has them; written by programs of iptables. */
export class IptablesBackend implements Backend {
  readonly name = "iptables";
  readonly writer: string;
  readonly place: Backend["place"];
  /** What was last planned and could be read: a family that fails is not looked at. */
  #policy: Policy | undefined;
  #rulesets: readonly Ruleset[] = [];
  #enforces = false;
  /** False when kernel or iptables turned out to lack NETMAP. */
  #canEnforce = true;

  readonly #ipsec: IpsecSupport;

  /**
   * @param chain the agent's chain, which is ours whatever it holds
   * @param pollInterval for iptables-legacy, in milliseconds
   */
  constructor(
    readonly tools: IptablesCommands,
    readonly chain = DEFAULT_CHAIN,
    readonly pollInterval = POLL_MS,
  ) {
    this.writer = tools.variant;
    this.place = tools.variant === "iptables-nft" ? "nat of nf_tables" : "nat of xtables";
    this.#ipsec = new IpsecSupport(tools);
  }

  get limits(): readonly string[] {
    return this.#ipsec.isMissing ? [NO_IPSEC] : [];
  }

  /** Whether rules keep the kept connections from being changed by later NAT chains. */
  get enforcesKept(): boolean {
    return this.#enforces && this.#canEnforce;
  }

  enforceKept(claim: boolean): void {
    this.#enforces = claim;
  }

  async plan(policy: Policy): Promise<Plan> {
    for (const { family } of policy.families) this.tools.require(family);
    const halves = await Promise.all(
      policy.families.map(async desired => {
        const { family } = desired;
        const saved = await this.#read(policy, desired);
        const ipsec = await this.#ipsec.has(family, saved);
        const rules = this.#rulesOf(policy, desired, ipsec);
        return { family, rules, saved, input: restoreInput(saved, rules) };
      }),
    );
    this.#policy = policy;
    this.#rulesets = halves.map(({ rules }) => rules);
    const inSync = halves.every(({ input }) => input === undefined);
    return {
      actual: halves.flatMap(({ family, saved, rules }) => prefixed(family, actualLines(saved, rules))),
      desired: halves.flatMap(({ family, rules }) => prefixed(family, desiredLines(rules))),
      inSync,
      writer: `${this.name} by ${this.writer}`,
      counters: halves.flatMap(({ family, saved }) => countersOf(family, saved.chains, policy.chain)),
      apply: async () => {
        const begun: Counter[] = [];
        for (const { family, saved, rules, input } of halves) {
          const isWritten = input === undefined || (await this.#write(family, input));
          begun.push(...countersOf(family, isWritten ? restored(saved, rules) : saved.chains, policy.chain));
        }
        return begun;
      },
    };
  }

  /** What there is of ours, and where the rules of a policy would be. */
  #read(policy: Policy, family: FamilyPolicy): Promise<Saved> {
    return readOwnChains(this.tools.reader(family.family), namesOf(ruleset(policy, family)));
  }

  #rulesOf(policy: Policy, family: FamilyPolicy, ipsec: boolean): Ruleset {
    const rules = ruleset(policy, family, { randomFully: this.tools.randomFully, ipsec });
    const gated = family.sources !== undefined || policy.outputInterfaces !== undefined;
    return this.enforcesKept ? enforceKept(rules, gated) : rules;
  }

  async probe(policy: Policy): Promise<ProgramError | undefined> {
    let refusal: ProgramError | undefined;
    for (const desired of policy.families) {
      const { family } = desired;
      try {
        this.tools.require(family);
        const saved = await this.#read(policy, desired);
        const rules = this.#rulesOf(policy, desired, await this.#ipsec.has(family, saved));
        await this.tools.test(family, restoreInput(saved, rules) ?? "*nat\nCOMMIT\n");
        return undefined; // one family is enough
      } catch (error) {
        if (!(error instanceof ProgramError)) throw error;
        refusal ??= error;
      }
    }
    return refusal;
  }

  watch(watcher: Watcher, polls = false): Watch {
    const { variant, programs } = this.tools;
    const look = { glance: () => this.#glance(), plan: () => this.#policy && this.plan(this.#policy) };
    // The kernel reports no changes of iptables-legacy.
    if (polls || variant === "iptables-legacy") return poll(look, watcher.changed, this.pollInterval);
    const chains = () => this.#rulesets.flatMap(namesOf);
    return watchNat(programs.argv("nft"), chains, look, watcher);
  }

  /** The rules of ours and of POSTROUTING, without what they counted. */
  async #glance(): Promise<string> {
    const all = this.#rulesets.map(async rules => {
      const saved = await readOwnChains(this.tools.reader(rules.family), namesOf(rules));
      return [...saved.chains].map(([name, rules]) => [name, rules.map(({ rule }) => rule)]);
    });
    return JSON.stringify(await Promise.all(all));
  }

  /** Of POSTROUTING only what leads to chains of ours. */
  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    return (await this.#find(families)).map(({ family, saved }) => {
      const jumps = jumpsOf(saved, this.chain).map(rule => traceableRule(POSTROUTING, rule));
      const others = [...saved.chains].filter(([name]) => name !== POSTROUTING);
      const chains = others.map(
        ([name, rules]) => [name, rules.map(({ rule }) => traceableRule(name, rule))] as const,
      );
      return { family, base: POSTROUTING, chains: new Map([[POSTROUTING, jumps], ...chains]) };
    });
  }

  async actual(families = FAMILIES): Promise<readonly string[]> {
    const found = await this.#find(families);
    return found.flatMap(({ family, saved }) => prefixed(family, actualLines(saved, undefined, this.chain)));
  }

  async remove(families = FAMILIES): Promise<readonly string[]> {
    const found = await this.#find(families);
    for (const { family, input } of found) await this.#restore(family, input);
    return found.map(
      ({ family, saved }) =>
        `${actualLines(saved, undefined, this.chain).length} rules of ${this.writer} in table ${family} nat`,
    );
  }

  /**
   * Writes what was planned. Where kept connections cannot be bound to their address, it writes nothing and returns
   * false, and the next plan does without.
   */
  async #write(family: Family, input: string): Promise<boolean> {
    try {
      await this.#restore(family, input);
      return true;
    } catch (error) {
      const kind = failureKind(error);
      if (!this.enforcesKept || (kind !== "refused" && kind !== "unsupported")) throw error;
      this.#canEnforce = false;
      return false;
    }
  }

  /** Writes. A leftover chain that foreign rules jump to stays, empty. */
  async #restore(family: Family, input: string): Promise<void> {
    try {
      await this.tools.restore(family, input);
    } catch (error) {
      const withoutDeletions = input.replace(/^-X .*\n/gm, "");
      if (!(error instanceof ProgramError) || withoutDeletions === input) throw error;
      await this.tools.restore(family, withoutDeletions);
    }
  }

  /** Our rules in the kernel by family, independent of the agent's flags. */
  async #find(families: readonly Family[]): Promise<{ family: Family; saved: Saved; input: string }[]> {
    const { variant, programs } = this.tools;
    const found: { family: Family; saved: Saved; input: string }[] = [];
    for (const family of families) {
      if (!this.tools.has(family)) continue;
      if (variant === "iptables-legacy" && !(await legacyTables(programs, family)).has("nat")) continue;
      const names = new Set([...ownChainNames(this.chain), ...ownChainNames()]);
      const saved = await readOwnChains(this.tools.reader(family), [...names]);
      const input = restoreInput(saved, undefined, this.chain);
      if (input !== undefined) found.push({ family, saved, input });
    }
    return found;
  }
}

function namesOf({ chains }: Ruleset): string[] {
  return chains.map(({ name }) => name);
}

/** @param chains of table `nat`, as far as they are read */
function countersOf(
  family: Family,
  chains: ReadonlyMap<string, readonly Counted[]>,
  chain: string,
): Counter[] {
  const [, , outbound = ""] = ownChainNames(chain);
  const rules = ownChainNames(chain).flatMap(name =>
    (chains.get(name) ?? []).flatMap(({ rule, packets, bytes }): CountedRule[] => {
      const cidr = Cidr.parse(optionOf(rule, "-d") ?? "");
      const where = { chain: name, target: targetOf(rule), cidr: cidr instanceof Cidr ? cidr : undefined };
      const counts = isOurs(rule) && !isExemption(optionOf(rule, "--comment"));
      return counts ? [{ ...where, packets, bytes }] : [];
    }),
  );
  return counters(family, rules, outbound);
}
