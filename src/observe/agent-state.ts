import { hostname } from "node:os";
import type { Backend } from "../backends/backend.ts";
import type { Problem } from "../config/problem.ts";
import type { Conflict } from "../conflicts/conflict.ts";
import type { Policy } from "../policy/policy.ts";
import { History } from "./history.ts";
import { type SyncRecord, SyncStats } from "./sync-stats.ts";
import { Totals } from "./totals.ts";

/** The result of the last read of the config. */
export interface ConfigRecord {
  readonly path: string;
  /** Whether the config is valid. If it is not, an older policy may be in force. */
  readonly ok: boolean;
  readonly problems: readonly Problem[];
  /** Hash of the files' contents, in hexadecimal digits. */
  readonly digest: string;
}

/** Version, commit and runtime of this binary. */
export interface Build {
  readonly version: string;
  readonly commit: string;
  readonly bun: string;
}

/** The backend that writes the rules. */
export interface BackendRecord {
  readonly backend: Backend["name"];
  /** The program that the backend writes with. */
  readonly writer: string;
  /** Why this backend was chosen. */
  readonly reason: string;
  /** Whether it replaces a preferred backend that fails. */
  readonly fallback: boolean;
}

/** The state of the agent, for metrics, health, `status` and the status page. Only the agent writes it. */
export class AgentState {
  /** The last syncs, newest last. */
  readonly syncs: SyncRecord[] = [];
  config: ConfigRecord | undefined;
  /** When a config was last accepted, in milliseconds since 1970. */
  configAcceptedAt: number | undefined;
  /** Undefined until a backend is available. */
  backend: BackendRecord | undefined;
  /** The policy from the last valid config; undefined until there is one. */
  policy: Policy | undefined;
  /** Whether the kernel had the policy's rules at the end of the last sync. */
  inSync = false;
  /** When `inSync` last changed, in milliseconds since 1970. */
  since: number;
  /** Milliseconds between full syncs. */
  interval = 60_000;
  /** When the last successful sync started, in milliseconds since 1970. */
  lastSuccess: number | undefined;
  /** Whether another agent is active on this node, so that this one writes nothing. */
  isStandby = false;
  /** Whether another program keeps changing our rules, so that the agent slows down repairs. */
  contested = false;
  /** Current problems that do not keep the policy from being in force, by topic. */
  readonly warnings = new Map<string, string>();
  /** Foreign rules that conflict with the policy, as of the last look. */
  conflicts: readonly Conflict[] = [];
  /** Foreign rules that the last look could not read, and why; one sentence each. */
  unread: readonly string[] = [];
  readonly stats = new SyncStats();
  readonly totals = new Totals();
  readonly history = new History();
  /** When the last sync ended, by a monotonic clock. */
  #ended = performance.now();
  /** When the current sync began, by the same clock. */
  #began: number | undefined;

  /**
   * @param startedAt the time when the agent started, in milliseconds since 1970
   * @param node the name of the node
   * @param source the address of the repository, to which the status page links
   */
  constructor(
    readonly build: Build,
    readonly startedAt: number,
    readonly node = hostname(),
    readonly source?: string | undefined,
  ) {
    this.since = startedAt;
  }

  syncBegan(): void {
    this.#began = performance.now();
  }

  syncEnded(sync: SyncRecord): void {
    this.#ended = performance.now();
    this.#began = undefined;
    const inSync = sync.result !== "failed";
    if (inSync !== this.inSync) this.since = sync.at;
    this.inSync = inSync;
    if (this.inSync) this.lastSuccess = sync.at;
    this.stats.add(sync);
    this.recordCounts(this.#ended);
    this.syncs.push(sync);
    if (this.syncs.length > MOST_KEPT) this.syncs.shift();
  }

  /** Adds the counts of connections to the history. `now` is of the monotonic clock. */
  recordCounts(now: number): void {
    const { keep, masquerade } = this.totals.byVerdict;
    this.history.record(now, keep.connections, masquerade.connections);
  }

  /**
   * Why the loop hangs; undefined if it is alive. The loop hangs if a sync runs for over three minutes, or if no sync
   * ran for three resync intervals. The deadlines of programs allow less than three minutes.
   */
  get stalled(): string | undefined {
    const now = performance.now();
    if (this.#began !== undefined) {
      const runs = now - this.#began;
      return runs > LONGEST_SYNC_MS
        ? `the current sync has been running for ${Math.round(runs / 1000)} s`
        : undefined;
    }
    const idle = now - this.#ended;
    return idle > 3 * this.interval ? `the last sync ended ${Math.round(idle / 1000)} s ago` : undefined;
  }

  /** Why the agent is not ready; undefined if the loop is alive and the kernel has the policy's rules. */
  get unready(): string | undefined {
    const { stalled } = this;
    if (stalled !== undefined || this.inSync) return stalled;
    if (this.backend && !this.policy) return "no valid config yet";
    return this.syncs.at(-1)?.message ?? "the first sync has not finished yet";
  }
}

const MOST_KEPT = 20;
const LONGEST_SYNC_MS = 180_000;
