import { statSync } from "node:fs";
import type { Log } from "../observe/log.ts";
import { messageOf } from "../system/errors.ts";
import type { FileLock } from "../system/file-lock.ts";
import { LastSaid } from "../system/last-said.ts";
import { printable } from "../system/printable.ts";
import { AgentSocket, type Answers } from "./agent-socket.ts";
import { prepareRuntimeDir, runtimePaths } from "./runtime-dir.ts";

/**
 * The lock of a node. If agents share a runtime directory and a network namespace, one is active and the others stand
 * by until it ends. The kernel releases the lock when its process ends, so a lock is never stale.
 *
 * The holder answers at a Unix socket beside the lock. Only root can write to the directory, so unprivileged processes
 * cannot take the lock, block it, or answer for the agent.
 */
export class NodeLock {
  /** Called when a standby agent becomes active. */
  onFree: () => void = () => {};
  #isStandby = false;
  #lock: FileLock | undefined;
  readonly #socket: AgentSocket;
  #polls: Timer | undefined;
  readonly #lockProblem = new LastSaid();
  readonly #socketProblem = new LastSaid();

  /** Loaded while the first programs run, because loading takes 1 ms. */
  readonly #module = import("../system/file-lock.ts");

  /** @param directory the runtime directory */
  constructor(
    readonly directory: string,
    readonly log: Log,
    answers: Answers,
  ) {
    this.#socket = new AgentSocket(agentSocketPath(directory), log, answers);
  }

  /**
   * Takes the lock, or checks that this agent still holds it. Call it before each write of rules. If the lock cannot be
   * created, it logs the reason and the agent is active without a lock.
   *
   * @throws StandbyError while another agent holds the lock
   */
  async take(): Promise<void> {
    const module = await this.#module;
    if (this.#take(module)) {
      this.#becameActive();
      return;
    }
    this.#isStandby = true;
    this.#polls ??= setInterval(() => this.#poll(module), POLL_MS);
    throw new StandbyError(await holderOf(this.#lock, this.directory));
  }

  /** Whether this agent holds the lock, or is active without one. */
  get isActive(): boolean {
    return !this.#isStandby && (this.#lock === undefined || this.#lock.isInPlace);
  }

  /** Releases the lock and stops answering. */
  release(): void {
    this.#stopPolling();
    this.#drop();
  }

  #poll(module: LockModule): void {
    if (this.#take(module)) this.#becameActive();
  }

  /** Reports once that a standby agent became active, by a poll or by a sync that came before the next poll. */
  #becameActive(): void {
    const wasStandby = this.#isStandby;
    this.#stopPolling();
    this.#isStandby = false;
    if (!wasStandby) return;
    this.log.info("the other agent ended; this agent is active now");
    this.onFree();
  }

  #stopPolling(): void {
    clearInterval(this.#polls);
    this.#polls = undefined;
  }

  #drop(): void {
    this.#socket.stop();
    this.#lock?.close();
    this.#lock = undefined;
  }

  /** Returns whether this agent may be active. */
  #take(module: LockModule): boolean {
    try {
      if (this.#lock && !this.#lock.isInPlace) this.#drop();
      this.#lock ??= openLock(module, this.directory);
      if (!this.#lock.take()) return false;
      if (!this.#lock.isInPlace) throw new Error("the lock was removed while it was taken");
      this.#lockProblem.isNews(undefined);
    } catch (error) {
      this.#drop();
      const remedy =
        process.geteuid?.() === 0
          ? "make it a directory that belongs to root and only root can write to, or set --runtime-dir"
          : "run as root, or set --runtime-dir to a directory of this user";
      this.#warn(
        this.#lockProblem,
        "no node lock: a second agent on this node would not stand by",
        error,
        remedy,
      );
      return true;
    }
    try {
      this.#socket.serve();
      this.#socketProblem.isNews(undefined);
    } catch (error) {
      this.#warn(this.#socketProblem, "no agent socket: status and cleanup cannot ask this agent", error);
    }
    return true;
  }

  #warn(problem: LastSaid, message: string, error: unknown, remedy?: string): void {
    const reason = messageOf(error);
    if (problem.isNews(reason)) this.log.warn(message, { directory: this.directory, error: reason, remedy });
  }
}

/** Milliseconds between attempts of a standby agent to take the lock. */
const POLL_MS = 500;

type LockModule = typeof import("../system/file-lock.ts");

/** The holder of a node lock. Some facts may be unknown. */
export interface Holder {
  /** The holder's PID as this process sees it; undefined if the holder runs in another PID namespace. */
  readonly pid: number | undefined;
  /** Undefined if it does not answer. */
  readonly version: string | undefined;
  readonly since: string | undefined;
}

/** Another agent is active on this node. */
export class StandbyError extends Error {
  override readonly name = "StandbyError";

  constructor(readonly holder: Holder) {
    super(`another agent is active on this node (${holderText(holder)}); remove one of the two`);
  }
}

/** Describes a lock holder, as in `pid 812, ipmasq 0.1.0, since 2026-11-26T08:15:00.000Z`. */
export function holderText({ pid, version, since }: Holder): string {
  const process = pid === undefined ? "in another PID namespace" : `pid ${pid}`;
  return version === undefined
    ? `${process}, which does not answer`
    : `${process}, ipmasq ${printable(version)}, since ${printable(since ?? "")}`;
}

/**
 * Takes the node lock for a command that must not run beside an active agent.
 *
 * @returns the lock, which the caller closes, or its holder; neither if this directory cannot hold a lock
 */
export async function lockNode(
  directory: string,
): Promise<{ readonly lock?: FileLock; readonly holder?: Holder }> {
  if (!statSync(directory, { throwIfNoEntry: false })) return {};
  let lock: FileLock;
  try {
    lock = openLock(await import("../system/file-lock.ts"), directory);
    if (lock.take()) return { lock };
  } catch {
    return {};
  }
  const holder = await holderOf(lock, directory);
  lock.close();
  return { holder };
}

/** Returns the path of the active agent's socket. */
export function agentSocketPath(directory: string): string {
  return runtimePaths(directory).socket;
}

function openLock(module: LockModule, directory: string): FileLock {
  prepareRuntimeDir(directory);
  return new module.FileLock(runtimePaths(directory).lock);
}

async function holderOf(lock: FileLock | undefined, directory: string): Promise<Holder> {
  const { askIdentity } = await import("../inspect/ask-agent.ts");
  const answer = await askIdentity(agentSocketPath(directory));
  const { version, since } = typeof answer === "object" && !(answer instanceof Error) ? answer : {};
  return { pid: lock?.holder, version, since };
}
