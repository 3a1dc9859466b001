import type { Cidr, Family } from "../net/cidr.ts";
import type { TraceableRuleset } from "../net/trace.ts";
import type { Verdict } from "../net/verdict.ts";
import type { Policy } from "../policy/policy.ts";
import type { ProgramError } from "../system/program.ts";

/**
 * Brings a policy into the kernel and keeps an eye on it. Holds no memory of what it did: everything is
 * learned by reading, so a new process goes on where another one was killed.
 */
export interface Backend {
  readonly name: "nftables" | "iptables";
  /** What it writes with: nft, iptables-nft or iptables-legacy. */
  readonly writer: string;
  /** Where its rules are. Two writers of one place write the same rules. */
  readonly place: "own table" | "nat of nf_tables" | "nat of xtables";
  /** What programs and kernel cannot do here, and the consequence, a sentence each; known after the first plan. */
  readonly limits?: readonly string[];
  /** Reads what the kernel holds of ours, of the families of `policy`, and compares. Writes nothing. */
  plan(policy: Policy): Promise<Plan>;
  /**
   * Reports changes in the kernel until it is stopped.
   *
   * @param polls whether it looks at the rules instead of relying on nft's events: an nft that hangs reports none
   */
  watch(watcher: Watcher, polls?: boolean): Watch;
  /** The error of a write with details that take longer to determine. Call it when the error is reported. */
  explained?(error: unknown): Promise<unknown>;
  /** Why program or kernel would not take the rules of a policy now; undefined if they would. Writes nothing. */
  probe(policy: Policy): Promise<ProgramError | undefined>;
  /**
   * Whether rules bind kept connections to their own address, so that a later NAT chain cannot change it. `enforceKept`
   * switches that from the next plan on. It is needed while rules of another backend of ours cannot be removed.
   */
  readonly enforcesKept?: boolean;
  enforceKept?(claim: boolean): void;
  /** What the kernel holds of ours, as rules that can be followed; nothing of a family in which there is none. */
  rules(families: readonly Family[]): Promise<readonly TraceableRuleset[]>;
  /** What any agent of ours ever put into the kernel by this writer and is still there, a line each. */
  actual(families?: readonly Family[]): Promise<readonly string[]>;
  /** Takes everything away that any agent of ours ever put into the kernel; says what that was. */
  remove(families?: readonly Family[]): Promise<readonly string[]>;
}

/** What is looked through for rules of ours, if nothing else is said. */
export const FAMILIES: readonly Family[] = ["ip", "ip6"];

/** What the kernel holds beside what a policy wants, as it was when it was read. */
export interface Plan {
  /** Rules as people read them, a line each, in a form in which equal rules are equal text. */
  readonly actual: readonly string[];
  readonly desired: readonly string[];
  readonly inSync: boolean;
  /** Identifies the counters: each writer has its own in the kernel. */
  readonly writer: string;
  readonly counters: readonly Counter[];
  /** A known problem of the program that writes, as a sentence; undefined if there is none. */
  readonly caution?: string | undefined;
  /**
   * Writes the differences such that each packet is judged by the old rules or by the new ones. Returns the values that
   * the counters then start from: zero for rules and sets that are rewritten, or the counts that were kept.
   */
  apply(): Promise<readonly Counter[]>;
}

/** Receives each reading of the kernel's counters and each write, in order. */
export interface Tally {
  read(plan: Pick<Plan, "writer" | "counters">): void;
  /** @param counters the values they start from after a write */
  wrote(plan: Pick<Plan, "writer">, counters: readonly Counter[]): void;
}

/** How many connections got a verdict since the rule was made. A NAT chain sees the first packet of each. */
export interface Counter {
  readonly family: Family;
  readonly verdict: Verdict;
  /** The CIDR that decided; undefined for the rest, which is in none. */
  readonly cidr: Cidr | undefined;
  readonly connections: number;
  /** Of those first packets. */
  readonly bytes: number;
  /** The kernel object that counts, where known. An object that is made again has another identity. */
  readonly identity?: string;
}

/** Receives changes in the kernel. */
export interface Watcher {
  /**
   * Our rules changed, perhaps by our own write; with the program that changed them, as in `firewalld (pid 812)`, if
   * known.
   */
  changed(by?: string): void;
  /** Changes may be seen late from now on, with the reason as a sentence; undefined: no longer. */
  lost(why: string | undefined): void;
  /**
   * Foreign rules changed, as far as the kernel tells.
   *
   * @param where a chain, as in `ip nat POSTROUTING`, or a table that went, as in `ip nat`; undefined if a base chain is
   *   new that may translate source addresses
   */
  foreign(where: string | undefined): void;
}

/** Something that goes on until it is stopped. */
export interface Watch {
  stop(): void;
}

/** The kernel does not hold what was written to it, though the program that wrote it said so. */
export class NotAppliedError extends Error {
  override readonly name = "NotAppliedError";

  constructor(readonly plan: Plan) {
    const missing = plan.desired.filter(line => !plan.actual.includes(line));
    const unexpected = plan.actual.filter(line => !plan.desired.includes(line));
    const first = (missing[0] ?? unexpected[0] ?? "").trim();
    super(
      `the kernel does not hold what was written: ${missing.length} lines are missing and ${unexpected.length} are unexpected; the first is "${first}"`,
    );
  }
}
