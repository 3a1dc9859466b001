import { FAMILIES, type Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import type { FamilyPolicy, Policy } from "../../policy/policy.ts";
import { failureKind, ProgramError } from "../../system/program.ts";
import type { IptablesCommands } from "../../xtables/commands.ts";
import { IpsecSupport } from "../../xtables/ipsec.ts";
import { POSTROUTING, type Saved } from "../../xtables/save.ts";
import { traceableRule } from "../../xtables/traceable.ts";
import {
  type Backend,
  type Counter,
  NO_IPSEC,
  type Plan,
  type PollTarget,
  type Watch,
  type Watcher,
} from "../backend.ts";
import { DEFAULT_CHAIN } from "../ownership.ts";
import { POLL_MS, poll } from "../watch.ts";
import { savedCounters } from "./counters.ts";
import { enforceKept } from "./enforce-kept.ts";
import { NatTable } from "./nat-table.ts";
import { watchNat } from "./own-chains.ts";
import { actualLines, desiredLines, jumpsOf, prefixed, restored, restoreInput } from "./restore.ts";
import { chainNames, type Ruleset, ruleset } from "./ruleset.ts";

/** The desired and the actual rules of one family. */
interface NatDiff {
  readonly family: Family;
  readonly rules: Ruleset;
  readonly saved: Saved;
  /** The input of iptables-restore; undefined if the rules are in sync. */
  readonly input: string | undefined;
  /** Whether it is assumed that rules can match packets under an IPsec policy. */
  readonly isAssumed: boolean;
}

/** Keeps one chain in table `nat` and a jump to it, as ip-masq-agent does, with the programs of iptables. */
export class IptablesBackend implements Backend {
  readonly name = "iptables";
  readonly writer: string;
  readonly place: string;
  readonly #nat: NatTable;
  readonly #ipsec: IpsecSupport;
  #enforces = false;
  /** False after kernel or iptables refused NETMAP. */
  #canEnforce = true;

  /**
   * @param chain the agent's chain, which is ours even if it contains other rules
   * @param pollInterval the interval between polls of iptables-legacy, in milliseconds
   */
  constructor(
    readonly commands: IptablesCommands,
    readonly chain = DEFAULT_CHAIN,
    readonly pollInterval = POLL_MS,
  ) {
    this.writer = commands.variant;
    this.place = commands.variant === "iptables-nft" ? "nat of nf_tables" : "nat of xtables";
    this.#nat = new NatTable(commands, chain);
    this.#ipsec = new IpsecSupport(commands);
  }

  get limits(): readonly string[] {
    return this.#ipsec.isMissing ? [NO_IPSEC] : [];
  }

  get enforcesKept(): boolean {
    return this.#enforces && this.#canEnforce;
  }

  enforceKept(enforce: boolean): void {
    this.#enforces = enforce;
  }

  async plan(policy: Policy): Promise<Plan> {
    for (const { family } of policy.families) this.#nat.require(family);
    const diffs = await Promise.all(
      policy.families.map(async it => {
        const saved = await this.#read(policy, it);
        const isAssumed = this.#assumesIpsec(it.family, saved);
        const rules = await this.#desired(policy, it, saved, isAssumed);
        return { family: it.family, rules, saved, input: restoreInput(saved, rules), isAssumed };
      }),
    );
    return {
      actual: diffs.flatMap(({ family, saved, rules }) => prefixed(family, actualLines(saved, rules))),
      desired: diffs.flatMap(({ family, rules }) => prefixed(family, desiredLines(rules))),
      inSync: diffs.every(({ input }) => input === undefined),
      writer: `${this.name} by ${this.writer}`,
      counters: diffs.flatMap(({ family, saved }) => savedCounters(family, saved.chains, policy.chain)),
      apply: () => this.#apply(policy, diffs),
    };
  }

  async #apply(policy: Policy, diffs: readonly NatDiff[]): Promise<readonly Counter[]> {
    const counters: Counter[] = [];
    try {
      for (const { family, saved, rules, input } of diffs) {
        const isWritten = input === undefined || (await this.#write(family, input));
        const chains = isWritten ? restored(saved, rules) : saved.chains;
        counters.push(...savedCounters(family, chains, policy.chain));
      }
      return counters;
    } catch (error) {
      const assumed = diffs.filter(({ isAssumed }) => isAssumed);
      if (assumed.length === 0 || !isRefusal(error)) throw error;
      const answers = await Promise.all(assumed.map(({ family, saved }) => this.#ipsec.has(family, saved)));
      if (answers.every(Boolean)) throw error;
      return (await this.plan(policy)).apply();
    }
  }

  #read(policy: Policy, family: FamilyPolicy): Promise<Saved> {
    return this.#nat.read(family.family, chainNames(policy, family));
  }

  async #desired(policy: Policy, family: FamilyPolicy, saved: Saved, assumesIpsec = false): Promise<Ruleset> {
    const ipsec = assumesIpsec || (await this.#ipsec.has(family.family, saved));
    const rules = ruleset(policy, family, { randomFully: this.commands.randomFully, ipsec });
    const hasChecks = family.sources !== undefined || policy.outputInterfaces !== undefined;
    return this.enforcesKept ? enforceKept(rules, hasChecks) : rules;
  }

  async check(policy: Policy): Promise<void> {
    let refusal: ProgramError | undefined;
    for (const it of policy.families) {
      try {
        this.#nat.require(it.family);
        const saved = await this.#read(policy, it);
        const rules = await this.#desired(policy, it, saved);
        await this.#nat.test(it.family, restoreInput(saved, rules) ?? "*nat\nCOMMIT\n");
        return; // one family is enough
      } catch (error) {
        if (!(error instanceof ProgramError)) throw error;
        refusal ??= error;
      }
    }
    if (refusal) throw refusal;
  }

  /** The rules of our chains and of POSTROUTING, without their counts. */
  async fingerprint(policy: Policy): Promise<string> {
    const all = policy.families.map(async family => {
      const { chains } = await this.#read(policy, family);
      return [...chains].map(([name, rules]) => [name, rules.map(({ rule }) => rule)]);
    });
    return JSON.stringify(await Promise.all(all));
  }

  watch(watcher: Watcher, target: PollTarget, polls = false): Watch {
    const { variant, host } = this.commands;
    // The kernel reports no changes of iptables-legacy.
    if (polls || variant === "iptables-legacy") return poll(target, watcher.changed, this.pollInterval);
    return watchNat(host.argv("nft"), this.chain, target, watcher);
  }

  /** POSTROUTING is limited to the jumps to our chains. */
  async rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]> {
    return (await this.#nat.find(families)).map(({ family, saved }) => {
      const jumps = jumpsOf(saved, this.chain).map(rule => traceableRule(POSTROUTING, rule));
      const others = [...saved.chains].filter(([name]) => name !== POSTROUTING);
      const chains = others.map(
        ([name, rules]) => [name, rules.map(({ rule }) => traceableRule(name, rule))] as const,
      );
      return { family, base: POSTROUTING, chains: new Map([[POSTROUTING, jumps], ...chains]) };
    });
  }

  async actual(families = FAMILIES): Promise<readonly string[]> {
    const found = await this.#nat.find(families);
    return found.flatMap(({ family, saved }) => prefixed(family, actualLines(saved, undefined, this.chain)));
  }

  async remove(families = FAMILIES): Promise<readonly string[]> {
    const found = await this.#nat.find(families);
    for (const { family, removal } of found) await this.#nat.restore(family, removal);
    return found.map(
      ({ family, saved }) =>
        `${actualLines(saved, undefined, this.chain).length} rules of ${this.writer} in table ${family} nat`,
    );
  }

  /** Whether the first write replaces a question to the kernel, which takes longer than the write itself. */
  #assumesIpsec(family: Family, { chains }: Saved): boolean {
    return chains.size <= 1 && !this.#ipsec.isKnown(family) && !this.enforcesKept;
  }

  /**
   * Writes. Writes nothing and returns false if kept connections cannot be bound to their address. The next plan then
   * does not bind them.
   */
  async #write(family: Family, input: string): Promise<boolean> {
    try {
      await this.#nat.restore(family, input);
      return true;
    } catch (error) {
      if (!this.enforcesKept || !isRefusal(error)) throw error;
      this.#canEnforce = false;
      return false;
    }
  }
}

function isRefusal(error: unknown): boolean {
  const kind = failureKind(error);
  return kind === "refused" || kind === "unsupported";
}
