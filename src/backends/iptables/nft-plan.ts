import type { Counter, Plan } from "../backend.ts";
import { TableDiff } from "./nft-diff.ts";

/** The parts of a plan that do not depend on the family. */
interface Context {
  readonly writer: string;
  readonly caution: string | undefined;
  readonly isRemembered: boolean;
  /** Sends the commands of all differences as one transaction. */
  write(diffs: readonly TableDiff[]): Promise<void>;
  /** Whether the jumps in POSTROUTING are those of the rules after the write, and no foreign change was reported. */
  isInKernel(diff: TableDiff): Promise<boolean>;
}

/** The desired and the actual rules of a policy in tables `nat`, written by nft. */
export class NftNatPlan implements Plan {
  readonly writer: string;
  readonly caution: string | undefined;
  readonly isRemembered: boolean;
  readonly inSync: boolean;
  readonly #diffs: readonly TableDiff[];
  readonly #context: Context;

  constructor(diffs: readonly TableDiff[], context: Context) {
    this.writer = context.writer;
    this.caution = context.caution;
    this.isRemembered = context.isRemembered;
    this.#diffs = diffs;
    this.inSync = diffs.every(({ commands }) => commands.length === 0);
    this.#context = context;
  }

  get actual(): readonly string[] {
    return this.#diffs.flatMap(({ actualText }) => actualText);
  }

  get desired(): readonly string[] {
    return this.#diffs.flatMap(({ desiredText }) => desiredText);
  }

  get counters(): readonly Counter[] {
    return this.isRemembered ? [] : this.#diffs.flatMap(({ counters }) => counters);
  }

  async apply(): Promise<readonly Counter[]> {
    await this.#context.write(this.#diffs);
    return this.#diffs.flatMap(it => (this.isRemembered ? it.createdCounters : it.countersAfter));
  }

  /** Looks only at POSTROUTING, as with iptables-restore; see {@link IptablesPlan}. */
  async confirm(): Promise<Plan | undefined> {
    const written = this.#diffs.filter(({ commands }) => commands.length > 0);
    if (written.reduce((sum, { size }) => sum + size, 0) < SHORT) return undefined;
    const looks = await Promise.all(written.map(diff => this.#context.isInKernel(diff)));
    if (!looks.every(Boolean)) return undefined;
    const after = this.#diffs.map(({ desired, after, chain }) => new TableDiff(desired, after, chain));
    return new NftNatPlan(after, { ...this.#context, isRemembered: true });
  }
}

/** Up to this many rules, a listing costs little. nft takes 270 ms of CPU to list 10,000 rules in JSON (1.0.6). */
const SHORT = 1000;
