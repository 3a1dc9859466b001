import { type Counter, joinChanges, type Plan, type RuleChanges } from "../backend.ts";
import type { NatDiff } from "./nat-diff.ts";

/** The parts of a plan that do not depend on the family. */
interface Context {
  readonly writer: string;
  readonly isRemembered: boolean;
  /** Writes the differences of a family. Returns false if they were not written. */
  write(diff: NatDiff): Promise<boolean>;
  /** Whether the jumps in POSTROUTING are those of the rules after the write, and no foreign change was reported. */
  isInKernel(diff: NatDiff): Promise<boolean>;
  /** The plan with the rules after a write. */
  after(diffs: readonly NatDiff[]): Plan;
  /** The plan to apply if the kernel refuses this plan because an assumption is wrong; undefined without assumptions. */
  instead(refusal: unknown): Promise<Plan | undefined>;
}

/** The desired and the actual rules of a policy in table `nat`. */
export class IptablesPlan implements Plan {
  readonly inSync: boolean;
  readonly #diffs: readonly NatDiff[];
  readonly #context: Context;
  /** Whether every difference was written, by this plan itself. */
  #isWritten = false;

  constructor(diffs: readonly NatDiff[], context: Context) {
    this.#diffs = diffs;
    this.#context = context;
    this.inSync = diffs.every(({ inSync }) => inSync);
  }

  get writer(): string {
    return this.#context.writer;
  }

  get isRemembered(): boolean {
    return this.#context.isRemembered;
  }

  get actual(): readonly string[] {
    return this.#diffs.flatMap(({ actualText }) => actualText);
  }

  get desired(): readonly string[] {
    return this.#diffs.flatMap(({ desiredText }) => desiredText);
  }

  get changes(): RuleChanges {
    return joinChanges(this.#diffs.map(({ changes }) => changes));
  }

  get counters(): readonly Counter[] {
    return this.isRemembered ? [] : this.#diffs.flatMap(({ counters }) => counters);
  }

  async apply(): Promise<readonly Counter[]> {
    const counters: Counter[] = [];
    let isWritten = true;
    try {
      for (const diff of this.#diffs) {
        const isDone = diff.inSync || (await this.#context.write(diff));
        isWritten &&= isDone;
        if (this.isRemembered) counters.push(...(diff.inSync ? [] : diff.createdCounters));
        else counters.push(...(isDone ? diff.countersAfter : diff.counters));
      }
      this.#isWritten = isWritten;
      return counters;
    } catch (error) {
      const instead = await this.#context.instead(error);
      if (!instead) throw error;
      return instead.apply();
    }
  }

  /**
   * Looks only at POSTROUTING: iptables-restore changes all or nothing, and reading a few rules of a chain costs as much
   * as reading all of them. The rest is confirmed by `nft monitor`, which reports the transaction. Short lists are listed
   * in full.
   */
  async confirm(): Promise<Plan | undefined> {
    const written = this.#diffs.filter(({ inSync }) => !inSync);
    if (!this.#isWritten || written.reduce((sum, it) => sum + sizeOf(it), 0) < SHORT) return undefined;
    const looks = await Promise.all(written.map(diff => this.#context.isInKernel(diff)));
    return looks.every(Boolean) ? this.#context.after(this.#diffs) : undefined;
  }
}

/** Up to this many rules, a listing takes 10 ms of CPU with iptables-nft; 10,000 rules take 60 ms (1.8.9). */
const SHORT = 1000;

function sizeOf({ rules }: NatDiff): number {
  return rules.chains.reduce((sum, chain) => sum + chain.rules.length, 0);
}
