import { NotAppliedError, type Watch, type Watcher } from "../backends/backend.ts";
import type { Failover } from "../backends/failover.ts";
import type { Move } from "../backends/moves.ts";
import { type FamilyFailure, familyText, isTemporary, type Synced } from "../backends/sync.ts";
import { formatDuration } from "../net/duration.ts";
import type { AgentState } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import type { SyncRecord } from "../observe/sync-stats.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { failureKind } from "../system/program.ts";
import { Backoff } from "./backoff.ts";
import type { DesiredPolicy } from "./desired-policy.ts";
import { Housekeeping } from "./housekeeping.ts";
import { KernelAccess } from "./kernel-access.ts";
import { type NodeLock, StandbyError } from "./node-lock.ts";
import { driftOf, Repairs } from "./repairs.ts";
import { reliesOnMemory, SyncQueue, type SyncRequest } from "./sync-queue.ts";
import { addressWarning, fallbackText, Warnings } from "./warnings.ts";

/** The parts that an agent is built from. */
export interface AgentParts {
  readonly desired: DesiredPolicy;
  readonly backend: Failover;
  readonly state: AgentState;
  readonly log: Log;
  readonly lock: Pick<NodeLock, "take" | "isActive" | "onFree">;
}

/** Callbacks of a running agent. */
export interface AgentEvents extends Partial<Pick<Watcher, "foreign">> {
  /** Called after the first sync, and after each later one with another policy. */
  newPolicy?(isFirst: boolean): void;
}

type Outcome = Pick<SyncRecord, "result" | "message" | "failure">;

/** Keeps the desired policy in the kernel: a trigger starts a sync, and the result decides when the next sync runs. */
export class Agent {
  readonly backend: Failover;
  readonly state: AgentState;
  readonly #log: Log;
  readonly #lock: AgentParts["lock"];
  readonly #desired: DesiredPolicy;
  readonly #queue = new SyncQueue();
  readonly #kernel: KernelAccess;
  readonly #backoff: Backoff;
  readonly #repairs: Repairs;
  readonly #warnings: Warnings;
  readonly #housekeeping: Housekeeping;
  /** Whether other syncs follow; false for `run --once`. */
  #isRunning = false;
  /** Starts to watch the kernel, after the first sync. Changes since the start are reported too. */
  #watch: () => void = () => {};
  /** When the last sync began, by a monotonic clock. */
  #began = 0;
  readonly #took = () => performance.now() - this.#began;
  /** Whether the policy of this agent was ever in force. */
  #wasInForce = false;
  /** Whether only one family failed in the last sync, for a reason that may pass. */
  #familyFails = false;
  /** Why syncs fail, or why this agent stands by. */
  readonly #failure = new LastSaid();

  constructor({ desired, backend, state, log, lock }: AgentParts) {
    this.#desired = desired;
    this.backend = backend;
    this.state = state;
    this.#log = log;
    this.#lock = lock;
    this.#kernel = new KernelAccess(backend);
    this.#backoff = new Backoff(desired.interval);
    this.#repairs = new Repairs(this.#backoff, state, log);
    this.#warnings = new Warnings(state, log);
    this.#housekeeping = new Housekeeping(backend, this.#warnings, log);
    lock.onFree = () => this.#queue.push("start");
  }

  /**
   * Runs until `stop`: syncs at start, when the config or our rules in the kernel change, and at least once per resync
   * interval. Failures are logged and retried.
   */
  async run(stop: AbortSignal, events: AgentEvents = {}): Promise<void> {
    let kernel: Watch | undefined;
    this.#watch = () => {
      if (kernel || stop.aborted) return;
      kernel = this.backend.watch({
        changed: by => this.#queue.push("kernel", by),
        lost: reason => this.#warnings.set("events", reason),
        foreign: where => events.foreign?.(where),
      });
    };
    // From the beginning: a rename that is not seen looks like an unfinished write.
    this.#desired.watch(trigger => this.#queue.push(trigger));
    const { writer, chosen: it } = this.backend;
    if (it.preferred) this.#warnings.set("fallback", fallbackText(writer, it.preferred.writer, it.failure));
    const unwatch = () => {
      kernel?.stop();
      this.#desired.stop();
    };
    // Stops watching even if a sync hangs.
    stop.addEventListener("abort", () => {
      unwatch();
      this.requestSync();
    });
    this.#queue.push("start");
    this.#isRunning = true;
    for (let first = true; ; first = false) {
      const request = await this.#queue.next(this.#nextSync, this.#backoff.nextRepair);
      if (stop.aborted) break;
      const { policy } = this.#desired;
      await this.sync(request);
      this.#watch();
      if (first || this.#desired.policy !== policy) events.newPolicy?.(first);
    }
    unwatch();
  }

  /** Requests a sync, as SIGHUP does. */
  requestSync(): void {
    this.#queue.push("signal");
  }

  /** Whether the rules in the kernel are this agent's: it is active, and its policy was in force. */
  get ownsRules(): boolean {
    return this.#lock.isActive && this.#wasInForce;
  }

  /** Resolves when leftover rules are removed, as far as possible. */
  get leftoversRemoved(): Promise<void> {
    return this.#housekeeping.done;
  }

  /** Reads the kernel's counters for display; see {@link KernelAccess.readCounters}. */
  async readCounters(): Promise<void> {
    const { policy } = this.#desired;
    const read = policy && (await this.#kernel.readCounters(policy));
    for (const it of read?.parts ?? (read ? [read] : [])) this.state.totals.read(it);
  }

  /** Runs one sync. Throws nothing: the record contains the result. */
  async sync(request: SyncRequest): Promise<SyncRecord> {
    const at = Date.now();
    this.#began = performance.now();
    this.state.syncBegan();
    const outcome = await this.#kernel.sync(() => this.#attempt(request)).catch(error => this.#failed(error));
    const [trigger] = request.triggers;
    const record: SyncRecord = { at, trigger, seconds: this.#took() / 1000, ...outcome };
    this.state.syncEnded(record);
    return record;
  }

  /** Changes nothing without a valid config, or while another agent is active. */
  async #attempt({ triggers, by }: SyncRequest): Promise<Outcome> {
    await this.#desired.read(triggers, this.#isRunning ? FIRST_CONFIG_MS : ONLY_CONFIG_MS);
    this.#backoff.resyncInterval = this.#desired.interval;
    const { policy, isNew } = this.#desired;
    if (!policy) return { result: "failed", message: "no valid config yet" };
    await this.#lock.take();
    this.state.isStandby = false;
    const from = reliesOnMemory({ triggers }) ? "memory" : "kernel";
    const { rewriteTime: retryFor } = this.#backoff;
    const options = { tally: this.state.totals, retryFor, from, isWatched: this.#isRunning } as const;
    const synced = await this.backend.sync(policy, options);
    if (synced.moved) this.#moved(synced.moved);
    if (synced.failures.length === 0) this.state.totals.keep(policy);
    this.#warnings.set("address", addressWarning(policy));
    this.#warnings.set("limits", this.backend.limits.join("; ") || undefined);
    const outcome = this.#succeeded(synced, by);
    this.#watch();
    const mustSearch = synced.moved !== undefined || triggers.some(it => it === "start" || it === "signal");
    if (isNew || mustSearch) await this.#housekeeping.run(policy, mustSearch);
    // Leftover rules of another backend could still decide about connections.
    if (isNew) this.#housekeeping.announce(policy, this.#isRunning);
    return this.#familyOutcome(synced.failures) ?? outcome;
  }

  /** Records that another backend now writes the rules. */
  #moved({ from, to, reason, fallback, isChoice }: Move): void {
    const isFallback = fallback !== undefined;
    this.state.backend = { backend: this.backend.name, writer: to, reason, fallback: isFallback };
    this.#warnings.set("fallback", isFallback ? fallbackText(to, from, fallback) : undefined);
    if (isChoice) this.#log.info("backend chosen", { backend: this.backend.name, writer: to, reason });
    else if (!isFallback) this.#log.info(`${to} writes the rules again`, { before: from });
  }

  #succeeded({ before, after, expected }: Synced, by: string | undefined): Outcome {
    this.#wasInForce = true;
    this.#warnings.set("writer", after.caution, "info"); // no harm has been done yet
    const { failures } = this.#backoff;
    if (failures > 0) this.#log.info("sync works again", { failures });
    this.#backoff.succeeded();
    this.#failure.isNews(undefined);
    const { isNew } = this.#desired;
    this.#desired.isNew = false;
    if (before === after) {
      this.#repairs.unchanged();
      return { result: "unchanged" };
    }
    if (!isNew && !expected)
      return { result: "repaired", message: this.#repairs.repaired(before, by, this.#took()) };
    this.#log.info("rules applied", driftOf(before));
    return { result: "applied" };
  }

  /**
   * The outcome of a sync in which only one family failed; undefined if the failure is permanent. A node whose kernel or
   * tools lack a family has no connections of that family, so a warning is enough.
   */
  #familyOutcome(failures: readonly FamilyFailure[]): Outcome | undefined {
    this.#warnings.setFamilies(failures);
    const temporary = failures.filter(isTemporary);
    const [first] = temporary;
    this.#familyFails = first !== undefined;
    const message = temporary.map(familyText).join("; ");
    return first && { result: "failed", message, failure: failureKind(first.error) };
  }

  #failed(error: unknown): Outcome {
    const message = messageOf(error);
    this.state.isStandby = error instanceof StandbyError;
    if (this.state.isStandby && this.#isRunning) {
      if (this.#failure.isNews(message)) this.#log.warn(`standing by: ${message}`);
      return { result: "failed", message };
    }
    if (error instanceof NotAppliedError) this.#repairs.undone(this.#took());
    else this.#backoff.failed(performance.now(), this.#took());
    const retry = this.#isRunning ? formatDuration(this.#backoff.nextSync) : undefined;
    if (this.#failure.isNews(message)) this.#log.error("sync failed", { error: message, retry });
    return { result: "failed", message, failure: failureKind(error) };
  }

  /** The longest time until the next sync, in milliseconds. */
  get #nextSync(): number {
    const waits = [this.#backoff.nextSync];
    // A separate retry, so that repairs of the other family do not wait.
    if (this.#familyFails) waits.push(FAMILY_RETRY_MS);
    // Without a valid config a sync would not reach the preferred backend.
    if (this.state.inSync && this.backend.retry !== undefined) waits.push(this.backend.retry);
    return Math.min(...waits);
  }
}

/** Milliseconds until a family that failed alone is tried again. */
const FAMILY_RETRY_MS = 15_000;
/** Milliseconds to wait for the first config. HTTP starts only after the first sync, and a later config is used too. */
const FIRST_CONFIG_MS = 1000;
/** Milliseconds that the sync of `run --once` waits for writers and file systems that hang. */
const ONLY_CONFIG_MS = 6000;
