import type { Cidr, Family } from "../net/cidr.ts";
import type { TraceableRuleset } from "../net/trace.ts";
import type { Verdict } from "../net/verdict.ts";
import type { NodeTables } from "../nft/node-tables.ts";
import type { Policy } from "../policy/policy.ts";
import { failureKind, isRefusal } from "../system/program.ts";

/**
 * Puts the rules of policies into the kernel with one writer. A backend keeps no record of its writes: it reads the
 * kernel each time, so a new process continues where a killed process stopped. All methods throw ProgramError.
 */
export interface Backend {
  /** As in `--backend`. */
  readonly name: string;
  /** The program that writes: nft, iptables-nft or iptables-legacy. */
  readonly writer: string;
  /** The kernel tables with the rules, such as `nat of nf_tables`. Writers of the same place write the same rules. */
  readonly place: string;
  /**
   * Missing abilities of program or kernel, with the consequence, one sentence each. The abilities are known after the
   * first sync.
   */
  readonly limits?: readonly string[];
  /** Whether it can drop leaks; see `dropLeaks` in the policy. */
  readonly dropsLeaks?: boolean;
  /** The same writer for a table with only the chain that drops leaks, beside a backend that cannot drop them. */
  leakGuard?(): Backend;
  /** The version of the program, once it is known. */
  readonly version?: string | undefined;
  /**
   * Starts programs that the first plan may need, while the config is read. Throws nothing.
   *
   * @param tables the tables of the node at the start; undefined if they are not known
   */
  prepare?(tables?: Promise<NodeTables | undefined>): void;
  /**
   * Compares the desired rules of a policy with the actual rules, in the families of the policy. Writes nothing.
   *
   * @param from `memory` to rely on the last listing and the writes since, if `watch` has reported every change. If it
   *   does not know them, it lists the kernel.
   */
  plan(policy: Policy, from?: "kernel" | "memory"): Promise<Plan>;
  /**
   * A text that changes with the actual rules of a policy, or {@link IN_SYNC}. May leave out elements of sets, because it
   * must be cheap.
   */
  fingerprint(policy: Policy): Promise<string>;
  /** Asks program and kernel to test the rules of a policy. Writes nothing. Throws ProgramError if they refuse. */
  check(policy: Policy): Promise<void>;
  /**
   * Reports changes in the kernel until it is stopped.
   *
   * @param target the rules to poll where the kernel reports no changes
   * @param polls whether to poll in any case, because an nft that hangs reports nothing
   */
  watch(watcher: Watcher, target: PollTarget, polls?: boolean): Watch;
  /** Adds details to the error of a write. Finding them takes time, so call it only to report the error. */
  explained?(error: unknown): Promise<unknown>;
  /**
   * Whether rules bind kept connections to their own address, so that a later NAT chain cannot change it.
   * `enforceKept` switches these rules on or off, starting with the next plan. Needed while rules of another backend
   * cannot be removed.
   */
  readonly enforcesKept?: boolean;
  enforceKept?(enforce: boolean): void;
  /** The actual rules, to trace packets through; nothing for a family without rules. */
  rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]>;
  /** Whether the actual rules may translate connections, if rules can exist that only drop leaks. */
  translates?(families: readonly Family[]): Promise<boolean>;
  /** All rules of any ip-masq-agent that this writer can read, one per line, of both families by default. */
  actual(families?: readonly Family[]): Promise<readonly string[]>;
  /** Removes the rules that `actual` lists. Returns the removed rules. */
  remove(families?: readonly Family[]): Promise<readonly string[]>;
}

/** The fingerprint of rules that are unchanged since a comparison found them in sync. */
export const IN_SYNC = "in sync";

/** Rules that only the desired or only the actual ruleset has, one line each. */
export interface RuleChanges {
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

/** The desired and the actual rules of a policy, at the time of reading. */
export interface Comparison {
  /** One line per rule, for users. Equal rules have equal text. */
  readonly actual: readonly string[];
  readonly desired: readonly string[];
  readonly inSync: boolean;
  /** How desired and actual rules differ, if that is known without comparing all lines. */
  readonly changes?: RuleChanges;
  /** Whether the actual rules were not listed for this plan. Then there are no counters. */
  readonly isRemembered?: boolean;
  /** Identifies the counters: each writer has its own in the kernel. */
  readonly writer: string;
  readonly counters: readonly Counter[];
  /** The comparisons of single writers, if several take part. */
  readonly parts?: readonly Comparison[];
  /** The last counts of kernel objects that `confirm` removed. */
  readonly ended?: readonly Counter[];
  /** A known problem of the writer, as a sentence. */
  readonly caution?: string | undefined;
}

/** A comparison of one writer, and what to do about it. */
export interface Plan extends Comparison {
  /**
   * Writes the differences. Each packet is judged either by the old rules or by the new rules. Returns the counters at
   * that moment: zero for rewritten rules and sets, or the counts that were kept.
   */
  apply(): Promise<readonly Counter[]>;
  /**
   * The plan after `apply`, if a cheap look at the kernel shows that the write took effect; undefined if a listing must
   * show it.
   *
   * @param isWatched whether `watch` was called or will be called at once. It begins with a report, after which the rules
   *   are listed, so that the first write needs no listing
   */
  confirm?(isWatched?: boolean): Promise<Plan | undefined>;
  /** Removes objects that have no effect and whose counters are in this plan. Failures are left to the next sync. */
  tidy?(): Promise<void>;
}

/** The changes of several tables or families. */
export function joinChanges(all: readonly RuleChanges[]): RuleChanges {
  return { added: all.flatMap(({ added }) => added), removed: all.flatMap(({ removed }) => removed) };
}

/** How desired and actual rules differ. */
export function changesOf(plan: Comparison): RuleChanges {
  if (plan.changes) return plan.changes;
  const { actual, desired } = plan; // long texts, which are made when they are read
  return changesBetween(actual, desired);
}

/** The lines that only one of two texts has, repeated as often as the other lacks them. */
export function changesBetween(
  actual: readonly string[],
  desired: readonly string[],
): { added: string[]; removed: string[] } {
  return { added: linesBeyond(desired, actual), removed: linesBeyond(actual, desired) };
}

/** The lines that are missing in the others, repeated as often as they are missing. */
function linesBeyond(lines: readonly string[], others: readonly string[]): string[] {
  const left = new Map<string, number>();
  for (const line of others) left.set(line, (left.get(line) ?? 0) + 1);
  return lines.filter(line => {
    const count = left.get(line) ?? 0;
    left.set(line, count - 1);
    return count <= 0;
  });
}

/** Whether a write may have failed because the actual rules are no longer as they were read. */
export function mayBeStale(error: unknown): boolean {
  const kind = failureKind(error);
  return isRefusal(kind) || kind === "busy";
}

/** Receives each reading of the kernel's counters and each write, in order. */
export interface Tally {
  read(plan: Pick<Plan, "writer" | "counters">): void;
  /** @param counters their values after the write */
  wrote(plan: Pick<Plan, "writer">, counters: readonly Counter[]): void;
  /** @param counters the last counts of kernel objects that no longer exist */
  ended(plan: Pick<Plan, "writer">, counters: readonly Counter[]): void;
}

/**
 * The number of connections with a verdict since the rule was made. A NAT chain sees the first packet of each. With
 * `drop`, the number of packets that were dropped as leaks.
 */
export interface Counter {
  readonly family: Family;
  readonly verdict: Verdict | "drop";
  /** The CIDR that decided; undefined for connections outside of all CIDRs. */
  readonly cidr: Cidr | undefined;
  readonly connections: number;
  /** The size of the first packets. */
  readonly bytes: number;
  /** The kernel object that counts, if known. A recreated object has another identity. */
  readonly identity?: string;
}

/** Receives changes in the kernel. */
export interface Watcher {
  /**
   * Our rules changed, perhaps by our own write.
   *
   * @param by the program that changed them, as in `firewalld (pid 812)`, if known
   */
  changed(by?: string): void;
  /**
   * Changes may be detected late from now on, with the reason as a sentence; undefined when they are detected at once
   * again.
   */
  lost(why: string | undefined): void;
  /**
   * Foreign rules changed, as far as the kernel reports it.
   *
   * @param where a chain, as in `ip nat POSTROUTING`, or a deleted table, as in `ip nat`; undefined for a new base
   *   chain that may translate source addresses, or if changes may have been missed
   */
  foreign(where: string | undefined): void;
}

/** The rules of the last plan, to poll them where the kernel reports no changes. */
export interface PollTarget {
  /** As {@link Backend.fingerprint}. */
  fingerprint(): Promise<string>;
  /** The same plan, read again; undefined without a plan. */
  plan(): Promise<Pick<Plan, "inSync">> | undefined;
}

/** The target for the policy that is current at each poll, if there is one. */
export function pollTarget(backend: Backend, current: () => Policy | undefined): PollTarget {
  return {
    async fingerprint() {
      const policy = current();
      return policy ? backend.fingerprint(policy) : "";
    },
    plan() {
      const policy = current();
      return policy && backend.plan(policy);
    },
  };
}

/** Something that runs until it is stopped. */
export interface Watch {
  stop(): void;
}

/** The writer reported success, but the kernel does not have the rules. */
export class NotAppliedError extends Error {
  override readonly name = "NotAppliedError";

  constructor(readonly plan: Comparison) {
    const missing = plan.desired.filter(line => !plan.actual.includes(line));
    const unexpected = plan.actual.filter(line => !plan.desired.includes(line));
    const first = (missing[0] ?? unexpected[0] ?? "").trim();
    super(
      `the rules in the kernel differ right after the write: ${missing.length} lines are missing, ${unexpected.length} are unexpected; the first is "${first}"`,
    );
  }
}
