import type { Backend } from "../backends/backend.ts";
import type { Failover } from "../backends/failover.ts";
import { removeAll } from "../backends/removal.ts";
import { formatDuration } from "../net/duration.ts";
import type { Log } from "../observe/log.ts";
import { policyFields } from "../policy/describe.ts";
import type { Policy } from "../policy/policy.ts";
import { LastSaid } from "../system/last-said.ts";
import { within } from "../system/timing.ts";
import { logStaleConnections } from "./stale-connections.ts";
import type { Warnings } from "./warnings.ts";

/**
 * Removes leftover rules after a sync, and notes connections and services that a new policy affects. It cannot make the
 * sync fail.
 */
export class Housekeeping {
  readonly #note = new LastSaid();
  #done: Promise<void> = Promise.resolve();
  /** The last count of connections; it never rejects. */
  #counted: Promise<void> = Promise.resolve();
  /** The newest policy. Older policies are not counted. */
  #newest: Policy | undefined;
  /** The families of the last search without failures. That search removed rules of all other families as leftovers. */
  #searched: string | undefined;

  constructor(
    readonly backend: Pick<Failover, "removeLeftovers" | "name">,
    readonly warnings: Warnings,
    readonly log: Log,
  ) {}

  /**
   * Starts the work for a policy whose rules are in force, and waits a short time for it.
   *
   * @param mustSearch search for leftovers even if the last search covered the same families; a search starts about 25
   *   programs
   */
  async run(policy: Policy, mustSearch: boolean): Promise<void> {
    void this.#noteServices(policy);
    if (!mustSearch && policy.enabled.join() === this.#searched) return;
    this.#done = this.#done.then(() => this.#removeLeftovers(policy));
    await within(WAIT_MS, this.#done);
  }

  /**
   * Logs a new policy that is in force.
   *
   * @param count whether to count the live connections that contradict it, in the background
   */
  announce(policy: Policy, count: boolean): void {
    this.log.info("policy in force", policyFields(policy));
    if (!count) return;
    this.#newest = policy;
    this.#counted = this.#counted.then(async () => {
      if (policy === this.#newest) await logStaleConnections(policy, this.backend.name, this.log);
    });
  }

  /** Resolves when no leftovers are being removed. */
  get done(): Promise<void> {
    return this.#done;
  }

  async #removeLeftovers(policy: Policy): Promise<void> {
    const { lines, failures } = await this.backend.removeLeftovers(policy);
    if (lines.length > 0) this.log.info("leftover rules removed", { removed: lines.join(", ") });
    const message = failures.length > 0 ? `leftover rules may remain: ${failures.join("; ")}` : undefined;
    this.#searched = message === undefined ? policy.enabled.join() : undefined;
    this.warnings.set("leftovers", message);
  }

  async #noteServices(policy: Policy): Promise<void> {
    const { ownServicesNote } = await import("../inspect/own-services.ts");
    const note = await ownServicesNote(policy);
    if (this.#note.isNews(note) && note !== undefined) this.log.info(note);
  }
}

/** How long a sync waits for the removal of leftovers, in milliseconds. The removal takes about 50 ms. */
const WAIT_MS = 500;

/**
 * Removes the rules when the agent ends, like the command `cleanup`, unless they may belong to another agent. Does not
 * wait for a program that hangs. Throws nothing.
 *
 * @param backends all backends that may have written rules
 */
export async function cleanUpOnExit(
  agent: { readonly ownsRules: boolean },
  backends: () => Promise<readonly Backend[]>,
  log: Log,
): Promise<void> {
  if (!agent.ownsRules) {
    log.info("rules kept: this agent is not active or never had a policy in force");
    return;
  }
  const removal = await within(CLEANUP_MS, backends().then(removeAll));
  if (!removal) {
    log.error("cleanup timed out; rules may remain", { after: formatDuration(CLEANUP_MS) });
    return;
  }
  const removed = removal.done.map(line => line.replace(/^removed /, "")).join(", ");
  log.info("rules removed", { removed });
  for (const failure of removal.failures) log.error(failure);
}

/**
 * Cleanup takes about 100 ms, or several seconds with 100,000 CIDRs. systemd waits 10 s before SIGKILL, kubelet 30 s.
 */
const CLEANUP_MS = 5000;
