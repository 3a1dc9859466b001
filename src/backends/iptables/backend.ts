import { FAMILIES, type Family } from "../../net/cidr.ts";
import type { TraceableRuleset } from "../../net/trace.ts";
import type { FamilyPolicy, Policy } from "../../policy/policy.ts";
import { failureKind, isRefusal, ProgramError } from "../../system/program.ts";
import type { IptablesCommands } from "../../xtables/commands.ts";
import { POSTROUTING, type Saved } from "../../xtables/save.ts";
import { IPSEC, NETMAP, Support } from "../../xtables/support.ts";
import { traceableRule } from "../../xtables/traceable.ts";
import { type Backend, IN_SYNC, type Plan, type PollTarget, type Watch, type Watcher } from "../backend.ts";
import { NO_IPSEC, NOT_ENFORCED } from "../limits.ts";
import { Memory } from "../memory.ts";
import { DEFAULT_CHAIN } from "../ownership.ts";
import { POLL_MS, poll } from "../watch.ts";
import { enforceKept } from "./enforce-kept.ts";
import { NatDiff } from "./nat-diff.ts";
import { fingerprintOf, NatTable } from "./nat-table.ts";
import { watchNat } from "./own-chains.ts";
import { IptablesPlan } from "./plan.ts";
import { actualLines, jumpsOf, prefixed } from "./restore.ts";
import { chainNames, type Ruleset, ruleset } from "./ruleset.ts";

/** Keeps one chain in table `nat` and a jump to it, as ip-masq-agent does, with the programs of iptables. */
export class IptablesBackend implements Backend {
  readonly name = "iptables";
  readonly writer: string;
  readonly place: string;
  readonly #nat: NatTable;
  readonly #ipsec: Support;
  readonly #netmap: Support;
  /** The actual rules of each family. Nothing is remembered while changes are not reported. */
  readonly #memory = new Memory<Family, Saved>();
  /** The last policy whose rules were listed and in sync, and their fingerprint. */
  #compared: { readonly policy: Policy; readonly fingerprint: string } | undefined;
  /** False after a change of single rules was refused, until the next write of whole chains. */
  #canEdit = true;
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
    this.#ipsec = new Support(commands, IPSEC);
    this.#netmap = new Support(commands, NETMAP);
  }

  get limits(): readonly string[] {
    return [...(this.#ipsec.isMissing ? [NO_IPSEC] : []), ...(this.#netmap.isMissing ? [NOT_ENFORCED] : [])];
  }

  get enforcesKept(): boolean {
    return this.#enforces && this.#canEnforce;
  }

  enforceKept(enforce: boolean): void {
    this.#enforces = enforce;
  }

  async plan(policy: Policy, from: "kernel" | "memory" = "kernel"): Promise<Plan> {
    for (const { family } of policy.families) this.#nat.require(family);
    const remembered = policy.families.map(({ family }) => this.#memory.get(family));
    const isRemembered = from === "memory" && remembered.every(it => it !== undefined);
    let isAssumed = false;
    const diffs = await Promise.all(
      policy.families.map(async (it, i) => {
        const saved = (isRemembered && remembered[i]) || (await this.#list(policy, it));
        const assumes = this.#assumesIpsec(it.family, saved);
        isAssumed ||= assumes;
        return new NatDiff(saved, await this.#desired(policy, it, saved, assumes), this.#canEdit);
      }),
    );
    if (isRemembered && diffs.some(({ needsCounts }) => needsCounts)) return this.plan(policy);
    const plan = this.#planOf(policy, diffs, isRemembered, isAssumed);
    // Only polls need a fingerprint.
    if (!this.#memory.isWatched) {
      this.#compared = plan.inSync ? { policy, fingerprint: fingerprintsOf(diffs) } : undefined;
    }
    return plan;
  }

  #planOf(policy: Policy, diffs: readonly NatDiff[], isRemembered: boolean, isAssumed: boolean): Plan {
    return new IptablesPlan(diffs, {
      writer: `${this.name} by ${this.writer}`,
      isRemembered,
      write: diff => this.#write(diff),
      isInKernel: async ({ family, after }) => {
        const texts = (after.chains.get(POSTROUTING) ?? []).map(({ text }) => text);
        const isSame = Bun.deepEquals(await this.#nat.postrouting(family), texts);
        return isSame && this.#memory.get(family) !== undefined;
      },
      after: written => {
        const after = written.map(({ after, rules }) => new NatDiff(after, rules));
        return this.#planOf(policy, after, true, false);
      },
      instead: async error => {
        if (!isAssumed || !isRefusal(failureKind(error))) return undefined;
        const answers = await Promise.all(diffs.map(({ family, saved }) => this.#ipsec.has(family, saved)));
        return answers.every(Boolean) ? undefined : this.plan(policy);
      },
    });
  }

  async #list(policy: Policy, family: FamilyPolicy): Promise<Saved> {
    const { epoch } = this.#memory;
    const saved = await this.#read(policy, family);
    this.#memory.listed(family.family, saved, epoch);
    return saved;
  }

  #read(policy: Policy, family: FamilyPolicy): Promise<Saved> {
    return this.#nat.read(family.family, chainNames(policy, family));
  }

  async #desired(policy: Policy, family: FamilyPolicy, saved: Saved, assumesIpsec = false): Promise<Ruleset> {
    const ipsec = assumesIpsec || (await this.#ipsec.has(family.family, saved));
    const netmap = policy.enforceNonMasquerade && (await this.#netmap.has(family.family, saved));
    const rules = ruleset(policy, family, { randomFully: this.commands.randomFully, ipsec, netmap });
    const hasChecks = family.sources !== undefined || policy.outputInterfaces !== undefined;
    return this.enforcesKept ? enforceKept(rules, policy.foreignMasqueradeMarks, hasChecks) : rules;
  }

  async check(policy: Policy): Promise<void> {
    let refusal: ProgramError | undefined;
    for (const it of policy.families) {
      try {
        this.#nat.require(it.family);
        const saved = await this.#read(policy, it);
        const { input } = new NatDiff(saved, await this.#desired(policy, it, saved));
        await this.#nat.test(it.family, input ?? "*nat\nCOMMIT\n");
        return; // one family is enough
      } catch (error) {
        if (!(error instanceof ProgramError)) throw error;
        refusal ??= error;
      }
    }
    if (refusal) throw refusal;
  }

  /** The same text as long as the rules are those that the last plan of this policy found in sync. */
  async fingerprint(policy: Policy): Promise<string> {
    const all = policy.families.map(it => this.#nat.fingerprint(it.family, chainNames(policy, it)));
    const fingerprint = (await Promise.all(all)).join();
    const compared = this.#compared;
    return compared?.policy === policy && compared.fingerprint === fingerprint ? IN_SYNC : fingerprint;
  }

  watch(watcher: Watcher, target: PollTarget, polls = false): Watch {
    const { variant, host } = this.commands;
    if (variant === "iptables-legacy") return this.#pollLegacy(watcher, target);
    if (polls) return poll(target, watcher.changed, this.pollInterval);
    return watchNat(host.argv("nft"), this.chain, target, watcher, this.#memory);
  }

  /** The kernel reports no changes of iptables-legacy. */
  #pollLegacy({ changed }: Watcher, target: PollTarget): Watch {
    const watches = [this.#nat.keepReading(), poll(target, changed, this.pollInterval)];
    return {
      stop() {
        for (const watch of watches) watch.stop();
      },
    };
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

  async actual(families: readonly Family[] = FAMILIES): Promise<readonly string[]> {
    const found = await this.#nat.find(families);
    return found.flatMap(({ family, saved }) => prefixed(family, actualLines(saved, undefined, this.chain)));
  }

  async remove(families: readonly Family[] = FAMILIES): Promise<readonly string[]> {
    const found = await this.#nat.find(families);
    this.#memory.forget();
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
  async #write(diff: NatDiff): Promise<boolean> {
    const { family, input = "", after } = diff;
    this.#memory.expect();
    try {
      await this.#nat.restore(family, input);
      this.#memory.written(family, after);
      this.#canEdit = true;
      return true;
    } catch (error) {
      this.#memory.forget(); // the kernel may have committed it nevertheless
      this.#canEdit = !diff.hasEdits;
      if (!this.enforcesKept || !isRefusal(failureKind(error))) throw error;
      this.#canEnforce = false;
      return false;
    }
  }
}

function fingerprintsOf(diffs: readonly NatDiff[]): string {
  return diffs.map(({ saved }) => fingerprintOf(saved)).join();
}
