import type { Backend } from "../backends/backend.ts";
import type { Problem } from "../config/problem.ts";
import type { Competing } from "../inspect/competing-rule.ts";
import type { Policy } from "../policy/policy.ts";
import type { FailureKind } from "../system/program.ts";
import { Totals } from "./totals.ts";

/** Why a sync runs. */
export type Trigger = "start" | "config" | "kernel" | "interval" | "signal";

/** A sync, as it went. */
export interface SyncRecord {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Of those that came together, the one that came first. */
  readonly trigger: Trigger;
  readonly result: "unchanged" | "applied" | "repaired" | "failed";
  readonly seconds: number;
  /** Of a failure the reason and the remedy, of a repair what was found. */
  readonly message?: string;
  /** Of a failure, what kind it is, if a program failed. */
  readonly failure?: FailureKind | undefined;
}

/** The config as it was last read. */
export interface ConfigRecord {
  readonly path: string;
  /** False if it is wrong; then an older policy may be in force. */
  readonly ok: boolean;
  readonly problems: readonly Problem[];
  /** Of the files' contents, in hexadecimal digits. */
  readonly digest: string;
}

/** What this program is. */
export interface Start {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly version: string;
  readonly commit: string;
  readonly bun: string;
}

/** What the rules are written with. */
export interface BackendRecord {
  readonly backend: Backend["name"];
  /** What the backend writes with. */
  readonly writer: string;
  /** Why it is that backend. */
  readonly reason: string;
  /** Whether a better one fails now. */
  readonly fallback: boolean;
}

/** What the agent went through, for metrics, health and the status page. The agent writes, they read. */
export class Journal {
  /** The last few, the newest last. */
  readonly syncs: SyncRecord[] = [];
  config: ConfigRecord | undefined;
  /** Undefined as long as there is nothing to write with. */
  backend: BackendRecord | undefined;
  /** The policy that is to be in the kernel; undefined as long as there was no good config. */
  policy: Policy | undefined;
  /** Whether the kernel held the policy when it was last looked at. */
  inSync = false;
  /** Since when that is so, in milliseconds since 1970. */
  since: number;
  /** How often a full sync runs, in milliseconds. */
  interval = 60_000;
  /** When a sync last succeeded, in milliseconds since 1970. */
  lastSuccess: number | undefined;
  /** Whether somebody changes our rules again and again, so that repairs are held back. */
  fighting = false;
  /** Current problems that do not keep the policy from being in force, by topic. */
  readonly warnings = new Map<string, string>();
  /** Foreign NAT rules and what they do to the policy, as of the last look. */
  competing: readonly Competing[] = [];
  readonly totals = new Totals();
  /** When the last sync ended, by a monotonic clock. */
  #ended = performance.now();
  /** When the sync that runs began, by the same clock. */
  #began: number | undefined;
  readonly #listeners: ((sync: SyncRecord) => void)[] = [];

  constructor(readonly start: Start) {
    this.since = start.at;
  }

  /** Notes a sync that begins. */
  began(): void {
    this.#began = performance.now();
  }

  /** Notes a sync that ended. */
  synced(sync: SyncRecord): void {
    this.#ended = performance.now();
    this.#began = undefined;
    const inSync = sync.result !== "failed";
    if (inSync !== this.inSync) this.since = sync.at;
    this.inSync = inSync;
    if (this.inSync) this.lastSuccess = sync.at;
    this.syncs.push(sync);
    if (this.syncs.length > MOST_KEPT) this.syncs.shift();
    for (const listener of this.#listeners) listener(sync);
  }

  /** Calls `listener` for each sync, those that are still kept first. */
  follow(listener: (sync: SyncRecord) => void): void {
    this.syncs.forEach(listener);
    this.#listeners.push(listener);
  }

  /**
   * Undefined while the loop lives; otherwise why it is dead: a sync has run for more than three minutes, longer than
   * its programs may take, or none has run for three resync intervals.
   */
  get stalled(): string | undefined {
    const now = performance.now();
    if (this.#began !== undefined) {
      const runs = now - this.#began;
      return runs > LONGEST_SYNC_MS ? `the sync has not ended for ${Math.round(runs / 1000)} s` : undefined;
    }
    const idle = now - this.#ended;
    return idle > 3 * this.interval ? `the last sync ended ${Math.round(idle / 1000)} s ago` : undefined;
  }

  /** Undefined if the loop lives and the policy in force is in the kernel; else why not. */
  get unready(): string | undefined {
    const { stalled } = this;
    if (stalled !== undefined || this.inSync) return stalled;
    if (this.backend && !this.policy) return "there has been no good config yet";
    return this.syncs.at(-1)?.message ?? "the first sync has not ended yet";
  }
}

const MOST_KEPT = 20;
const LONGEST_SYNC_MS = 180_000;
