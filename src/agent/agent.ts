import { FAMILIES, NotAppliedError, type Plan, type Watcher } from "../backends/backend.ts";
import type { Failover, Move } from "../backends/failover.ts";
import { type FamilyFailure, familyText, type Synced } from "../backends/sync.ts";
import { ownServicesNote } from "../inspect/own-services.ts";
import { formatDuration } from "../net/duration.ts";
import type { AgentState, SyncRecord } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { LastSaid } from "../system/last-said.ts";
import { type FailureKind, failureKind } from "../system/program.ts";
import { within } from "../system/timing.ts";
import { Backoff } from "./backoff.ts";
import { DesiredPolicy, facts, type Settings } from "./desired-policy.ts";
import { driftOf, remedyFor } from "./drift.ts";
import { type NodeLock, StandbyError } from "./node-lock.ts";
import { SyncQueue, type SyncRequest } from "./sync-queue.ts";

type Outcome = Pick<SyncRecord, "result" | "message" | "failure">;

/** Keeps what the config means in the kernel. */
export class Agent {
  readonly #queue = new SyncQueue();
  readonly #desired: DesiredPolicy;
  readonly #backoff: Backoff;
  /** Whether a policy was ever in force. */
  #wasInForce = false;
  /** Why syncs fail, or why this agent stands by. */
  readonly #failure = new LastSaid();
  /** Whether the log says that the rules are contested. */
  #saidContested = false;
  /** When the last sync began, by a monotonic clock. */
  #began = 0;
  /** Whether a family failed in the last sync, while another one did not. */
  #partly = false;
  /** On the node's own services. */
  readonly #note = new LastSaid();
  #tidied: Promise<void> = Promise.resolve();
  /** What was last begun with the kernel; it never rejects. */
  #last: Promise<unknown> = Promise.resolve();
  /** The last courtesy read; it never rejects. */
  #reading: Promise<unknown> = Promise.resolve();
  /** Whether there will be another sync. */
  #running = false;

  constructor(
    readonly settings: Settings,
    readonly backend: Failover,
    readonly state: AgentState,
    readonly log: Log,
    readonly lock: NodeLock,
  ) {
    this.#desired = new DesiredPolicy(settings, state, log);
    this.#backoff = new Backoff(this.#desired.interval);
    lock.onFree = () => this.#queue.push("start");
  }

  /**
   * The agent's life: a sync at its start, whenever the config or our rules in the kernel change, and at the latest
   * after the resync interval, until `stop`. What fails is logged and tried again; it is no reason to end.
   *
   * @param begun is called once, after the first sync
   * @param foreign is called when foreign rules change
   */
  async run(stop: AbortSignal, begun: () => void, foreign: Watcher["foreign"] = () => {}): Promise<void> {
    const kernel = this.backend.watch({
      changed: by => this.#queue.push("kernel", by),
      lost: why => this.#warn("events", why),
      foreign,
    });
    this.#desired.watch(() => this.#queue.push("config"));
    const { preferred, failure } = this.backend.chosen;
    if (preferred) this.#warn("fallback", inPlace(this.backend.writer, preferred.writer, failure ?? ""));
    const unwatch = () => {
      kernel.stop();
      this.#desired.stop();
    };
    // At once: a sync that hangs is not waited for, and what watches must not outlive the agent.
    stop.addEventListener("abort", () => {
      unwatch();
      this.#queue.push("signal");
    });
    this.#queue.push("start");
    this.#running = true;
    for (let first = true; ; first = false) {
      const request = await this.#queue.next(this.#wait, this.#backoff.hold);
      if (stop.aborted) break;
      await this.once(request);
      if (first) begun();
    }
    unwatch();
  }

  /** Milliseconds until the next sync at the latest. A family that fails does not hold back repairs of another one. */
  get #wait(): number {
    // A sync that does not come to the backend, as without a good config, does not try the preferred one again.
    const again = [this.#partly ? PARTLY_MS : undefined, this.state.inSync ? this.backend.retry : undefined];
    return Math.min(this.#backoff.wait, ...again.map(it => it ?? Number.POSITIVE_INFINITY));
  }

  /** Whether the rules in the kernel are this agent's: no other one is active, and a policy of its own was in force. */
  get ownsRules(): boolean {
    return this.lock.isActive && this.#wasInForce;
  }

  /** Asks for a sync, as SIGHUP does. */
  wake(): void {
    this.#queue.push("signal");
  }

  /** Resolves when leftovers are removed, as far as possible. */
  get tidied(): Promise<void> {
    return this.#tidied;
  }

  /** Logs, once, which services of the node masquerading may disturb. */
  async #noteServices(policy: Policy): Promise<void> {
    const note = await ownServicesNote(policy);
    if (this.#note.isNews(note) && note !== undefined) this.log.info(note);
  }

  /** Removes leftovers. Its failure is not a failure of the sync. */
  #tidy(policy: Policy): void {
    this.#tidied = this.#tidied
      .then(() => this.backend.tidy(policy))
      .then(({ lines, failures }) => {
        if (lines.length > 0) this.log.info("leftover rules removed", { removed: lines.join(", ") });
        const message = failures.length > 0 ? `leftover rules may remain: ${failures.join("; ")}` : undefined;
        this.#warn("leftovers", message);
      });
  }

  /** Logs a warning when it begins or changes, and keeps it for `status` as long as it lasts. */
  #warn(topic: string, message: string | undefined, level: "warn" | "info" = "warn"): void {
    const { warnings } = this.state;
    if (message === undefined) warnings.delete(topic);
    else {
      if (message !== warnings.get(topic)) this.log[level](message);
      warnings.set(topic, message);
    }
  }

  /**
   * Reads the kernel's counters for display. A sync does not wait for this; a reading during which a sync begins is
   * dropped. For long lists it does nothing, since reading costs as much as a sync: their counters are as old as the
   * last sync. Throws what reading throws.
   */
  async count(): Promise<void> {
    const { policy } = this.#desired;
    if (!policy || cidrsOf(policy) > MOST_COUNTED) return;
    await this.#last;
    const begun = this.#began;
    const reading = this.backend.plan(policy);
    this.#reading = reading.catch(() => {});
    const plan = await reading;
    if (begun === this.#began) this.state.totals.read(plan);
  }

  /** One sync. Throws nothing: the record says how it went. */
  async once(request: SyncRequest): Promise<SyncRecord> {
    const at = Date.now();
    const began = performance.now();
    this.#began = began;
    this.state.syncBegan();
    const outcome = await this.#alone(() => this.#attempt(request)).catch(error => this.#failed(error));
    const [trigger] = request.triggers;
    const record: SyncRecord = { at, trigger, seconds: (performance.now() - began) / 1000, ...outcome };
    this.state.syncEnded(record);
    return record;
  }

  /** Runs work on the kernel one at a time, after a short wait for a courtesy read that is under way. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => within(COURTESY_MS, this.#reading)).then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Without a good config nothing is touched, nor while another agent is active. */
  async #attempt(request: SyncRequest): Promise<Outcome> {
    await this.#desired.read(request.triggers, this.#running ? AGENT_PATIENCE_MS : ONCE_PATIENCE_MS);
    this.#backoff.interval = this.#desired.interval;
    const { policy } = this.#desired;
    if (!policy) return { result: "failed", message: "no valid config yet" };
    await this.lock.take();
    const synced = await this.backend.sync(policy, this.state.totals, this.#backoff.patience);
    if (synced.moved) this.#moved(synced.moved);
    if (synced.failures.length === 0) this.state.totals.keep(policy);
    this.#warn("limits", this.backend.limits.join("; ") || undefined);
    // Looking for leftovers starts programs, so not every sync does it.
    const asked = request.triggers.includes("start") || request.triggers.includes("signal");
    if (synced.moved || this.#desired.fresh || asked) {
      void this.#noteServices(policy);
      this.#tidy(policy);
      await within(TIDY_MS, this.#tidied);
    }
    const outcome = this.#succeeded(synced, request);
    return this.#familyOutcome(synced.failures) ?? outcome;
  }

  /**
   * The outcome if a family failed while another one did not; undefined if no retry is needed. A node whose kernel or
   * tools lack a family has no connections of that family, so this is only a warning.
   */
  #familyOutcome(failures: readonly FamilyFailure[]): Outcome | undefined {
    for (const family of FAMILIES) {
      const failed = failures.find(it => it.family === family);
      this.#warn(family, failed && familyText(failed));
    }
    const wrong = failures.filter(({ error }) => !isUnavailable(failureKind(error)));
    this.#partly = wrong.length > 0;
    const [first] = wrong;
    if (!first) return undefined;
    const message = wrong.map(({ family }) => this.state.warnings.get(family)).join("; ");
    return { result: "failed", message, failure: failureKind(first.error) };
  }

  /** Notes that another backend writes the rules from now on. */
  #moved({ from, to, reason, fallback }: Move): void {
    this.state.backend = {
      backend: this.backend.name,
      writer: to,
      reason,
      fallback: fallback !== undefined,
    };
    const message = fallback && inPlace(to, from, fallback);
    this.#warn("fallback", message);
    if (message === undefined) this.log.info(`${to} writes the rules again`, { before: from });
  }

  #succeeded({ before, after, expected }: Synced & { readonly moved?: Move }, request: SyncRequest): Outcome {
    this.#wasInForce = true;
    this.#warn("writer", after.caution, "info"); // nothing is wrong yet
    if (this.#backoff.failures > 0) this.log.info("sync works again", { failures: this.#backoff.failures });
    this.#backoff.succeeded();
    this.#failure.isNews(undefined);
    const fresh = this.#desired.fresh;
    this.#desired.fresh = false;
    if (fresh && this.#desired.policy) this.log.info("policy in force", facts(this.#desired.policy));
    if (before === after) {
      this.#calmDown();
      return { result: "unchanged" };
    }
    if (!fresh && !expected) return this.#repaired(before, request);
    this.log.info("rules applied", driftOf(before));
    return { result: "applied" };
  }

  #repaired(before: Plan, { by }: SyncRequest): Outcome {
    const backoff = this.#backoff;
    const now = performance.now();
    backoff.repaired(now, now - this.#began);
    const found = { ...driftOf(before), by, remedy: remedyFor(before) };
    if (!backoff.contested) this.log.warn("drift repaired", found);
    else if (!this.#saidContested) {
      this.#saidContested = true;
      const facts = { ...found, repairs: backoff.repairs };
      this.log.warn("rules are contested; repairing them at least every 2 s", facts);
    }
    this.state.contested = backoff.contested;
    const message = Object.entries(found).flatMap(([key, value]) =>
      value === undefined ? [] : `${key}=${value}`,
    );
    return { result: "repaired", message: message.join(" ") };
  }

  #calmDown(): void {
    if (!this.state.contested || !this.#backoff.calm(performance.now())) return;
    this.#backoff.settled();
    this.state.contested = false;
    this.#saidContested = false;
    this.log.info("rules are no longer contested");
  }

  #failed(error: unknown): Outcome {
    const now = performance.now();
    if (error instanceof StandbyError && this.#running) return this.#standingBy(error);
    if (error instanceof NotAppliedError) {
      this.#backoff.undone(now, now - this.#began);
      this.state.contested = true;
    } else this.#backoff.failed(now, now - this.#began);
    const message = messageOf(error);
    const retry = this.#running ? formatDuration(this.#backoff.wait) : undefined;
    if (this.#failure.isNews(message)) this.log.error("sync failed", { error: message, retry });
    return { result: "failed", message, failure: failureKind(error) };
  }

  #standingBy({ message }: StandbyError): Outcome {
    if (this.#failure.isNews(message)) this.log.warn(`standing by: ${message}`);
    return { result: "failed", message };
  }
}

function inPlace(to: string, from: string, failure: string): string {
  return `${to} writes the rules in place of ${from}, which fails: ${failure}`;
}

/** How long a sync waits for the removal of leftovers, in milliseconds. It takes about 50. */
const TIDY_MS = 500;

/** Milliseconds until a family that failed alone is tried again. */
const PARTLY_MS = 15_000;

function isUnavailable(kind: FailureKind | undefined): boolean {
  return kind === "unsupported" || kind === "not-found";
}

/** How long a sync waits for a courtesy read that is under way, in milliseconds. */
const COURTESY_MS = 250;
/** The most CIDRs whose counters are read for display. Reading 10,000 takes 0.4 s, and 60 MB in nft and the agent. */
const MOST_COUNTED = 10_000;

function cidrsOf({ families }: Policy): number {
  return families.reduce(
    (sum, it) => sum + it.nonMasquerade.effective.length + it.masquerade.effective.length,
    0,
  );
}

/** Milliseconds to wait for a first config: HTTP is served after the first sync, and a config that comes later is read. */
const AGENT_PATIENCE_MS = 1000;
/** A sync of its own is not tried again, and waits for writers and hanging file systems. */
const ONCE_PATIENCE_MS = 6000;
