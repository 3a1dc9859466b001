import { lstatSync, mkdirSync, readlinkSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { askIdentity } from "../inspect/ask-agent.ts";
import type { Log } from "../observe/log.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import type { FileLock } from "../system/file-lock.ts";
import { LastSaid } from "../system/last-said.ts";
import { printable } from "../system/printable.ts";

/** What the agent that holds the lock answers over its socket, by path; each makes a body of JSON. */
export type Answers = Readonly<Record<string, () => unknown>>;

/**
 * The lock of a node: among agents that share a runtime directory and a network namespace, one is active and the others
 * stand by until it ends. The kernel releases the lock when its process ends, so a lock is never stale.
 *
 * The holder answers over a Unix socket beside the lock. The directory belongs to root, and only root can write to it,
 * so an unprivileged process cannot take the lock, block it, or answer in the agent's place.
 */
export class NodeLock {
  /** Called when this agent stood by and may be active now. */
  freed: () => void = () => {};
  /** Whether another agent is active. */
  isStandby = false;
  #lock: FileLock | undefined;
  #server: Bun.Server<undefined> | undefined;
  /** The inode of the socket that the server made. */
  #inode: number | undefined;
  #looks: Timer | undefined;
  /** A reason for having no lock, or no socket. */
  readonly #said = new LastSaid();

  /** Loaded while the first programs run: it takes 1 ms. */
  readonly #module = import("../system/file-lock.ts");

  /** @param directory the runtime directory */
  constructor(
    readonly directory: string,
    readonly log: Log,
    readonly answers: Answers,
  ) {}

  /**
   * Takes the lock, or checks that it is still held. Call it before rules are written. If a lock is impossible here,
   * this is logged and the agent is active without one.
   *
   * @throws StandbyError while another agent holds it
   */
  async take(): Promise<void> {
    const module = await this.#module;
    if (this.#take(module)) {
      this.isStandby = false;
      return;
    }
    this.isStandby = true;
    this.#looks ??= setInterval(() => this.#look(module), LOOK_MS);
    throw new StandbyError(await holderOf(this.#lock, this.directory));
  }

  /** Whether this agent holds the lock, or no lock is possible here. */
  get isActive(): boolean {
    return !this.isStandby && (this.#lock === undefined || this.#lock.isInPlace);
  }

  /** Releases the lock and stops answering. */
  release(): void {
    clearInterval(this.#looks);
    this.#looks = undefined;
    this.#drop();
  }

  #drop(): void {
    this.#stopServer();
    this.#lock?.close();
    this.#lock = undefined;
  }

  #look(module: LockModule): void {
    if (!this.#take(module)) return;
    clearInterval(this.#looks);
    this.#looks = undefined;
    this.isStandby = false;
    this.log.info("the other agent has ended; this one is active now");
    this.freed();
  }

  /** Whether this agent may be active. */
  #take(module: LockModule): boolean {
    try {
      if (this.#lock && !this.#lock.isInPlace) this.#drop();
      this.#lock ??= open(module, this.directory);
      if (!this.#lock.take()) return false;
      if (!this.#lock.isInPlace) throw new Error("the lock was removed while it was taken");
    } catch (error) {
      this.#drop();
      const remedy =
        process.geteuid?.() === 0
          ? "make it a directory that belongs to root and only root can write to, or set --runtime-dir"
          : "run as root, or set --runtime-dir to a directory of this user";
      this.#warn("no node lock: two agents on this node would contest the rules", error, remedy);
      return true;
    }
    this.#serve();
    return true;
  }

  /** Starts answering at the socket, unless it does so already and the socket is still in place. */
  #serve(): void {
    const { socket } = paths(this.directory);
    if (this.#server && inodeOf(socket) === this.#inode) return;
    const umask = process.umask(0o077);
    try {
      this.#stopServer();
      if (inodeOf(socket) !== undefined) unlinkSync(socket); // of an agent that was killed
      this.#server = Bun.serve({
        unix: socket,
        maxRequestBodySize: 1024,
        development: false,
        fetch: request => this.#answer(request),
        error: error => {
          this.log.error("a request over the socket failed", { error: messageOf(error) });
          return new Response("internal error; see the log\n", { status: 500 });
        },
      });
      this.#inode = inodeOf(socket);
    } catch (error) {
      this.#warn("status and cleanup cannot ask this agent over its socket", error);
    } finally {
      process.umask(umask);
    }
  }

  /** A server that stops removes the file at its path, even if that is now the socket of another agent. */
  #stopServer(): void {
    if (inodeOf(socketIn(this.directory)) === this.#inode) void this.#server?.stop(true);
    else this.#server?.unref();
    this.#server = undefined;
  }

  async #answer(request: Request): Promise<Response> {
    const path = URL.parse(request.url)?.pathname ?? "";
    const answer = Object.hasOwn(this.answers, path) ? this.answers[path] : undefined;
    if (!answer) return new Response("not found\n", { status: 404 });
    return Response.json(await answer());
  }

  #warn(message: string, error: unknown, remedy?: string): void {
    const why = messageOf(error);
    if (this.#said.isNews(why)) this.log.warn(message, { directory: this.directory, error: why, remedy });
  }
}

const LOOK_MS = 500;

type LockModule = typeof import("../system/file-lock.ts");

/** The holder of a node's lock, as far as it can be determined. */
export interface Holder {
  /** As this process sees it; undefined if it is in another PID namespace. */
  readonly pid: number | undefined;
  /** Undefined if it does not answer. */
  readonly version: string | undefined;
  readonly since: string | undefined;
}

/** Another agent is active on this node. */
export class StandbyError extends Error {
  override readonly name = "StandbyError";

  constructor(readonly holder: Holder) {
    super(`another agent is active on this node (${described(holder)}); remove one of the two`);
  }
}

/** A holder in a few words: `pid 812, ipmasq 0.1.0, since …`. */
export function described({ pid, version, since }: Holder): string {
  const who = pid === undefined ? "in another PID namespace" : `pid ${pid}`;
  return version === undefined
    ? `${who}, which does not answer`
    : `${who}, ipmasq ${printable(version)}, since ${printable(since ?? "")}`;
}

/**
 * Takes the lock of a node for a command that must not run beside an active agent.
 *
 * @returns the lock, which the caller closes; or its holder; neither if a lock is impossible here
 */
export async function lockNode(
  directory: string,
): Promise<{ readonly lock?: FileLock; readonly holder?: Holder }> {
  if (!statSync(directory, { throwIfNoEntry: false })) return {};
  let lock: FileLock;
  try {
    lock = open(await import("../system/file-lock.ts"), directory);
    if (lock.take()) return { lock };
  } catch {
    return {};
  }
  const holder = await holderOf(lock, directory);
  lock.close();
  return { holder };
}

async function holderOf(lock: FileLock | undefined, directory: string): Promise<Holder> {
  const answer = await askIdentity(paths(directory).socket);
  const { version, since } = typeof answer === "object" && !(answer instanceof Error) ? answer : {};
  return { pid: lock?.holder, version, since };
}

/** Path of the active agent's socket. Each network namespace has rules, and so a lock, of its own. */
export function socketIn(directory: string): string {
  return paths(directory).socket;
}

function paths(directory: string): { lock: string; socket: string } {
  const name = join(directory, `agent-${networkNamespace()}`);
  return { lock: `${name}.lock`, socket: `${name}.sock` };
}

function networkNamespace(): string {
  try {
    return /\d+/.exec(readlinkSync("/proc/self/ns/net"))?.[0] ?? "unknown";
  } catch {
    return "unknown"; // without /proc
  }
}

/** Makes the directory if it is missing. Throws Error if other users can write to it. */
function open(module: LockModule, directory: string): FileLock {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
  const { uid, mode } = lstatSync(directory);
  if ((mode & S_IFMT) !== S_IFDIR) throw new Error("it is not a directory");
  if (uid !== process.geteuid?.()) throw new Error(`it belongs to user ${uid}`);
  if ((mode & 0o022) !== 0) throw new Error("others can write to it");
  return new module.FileLock(paths(directory).lock);
}

/** The type of a file, and that of a directory: inode(7). */
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

function inodeOf(path: string): number | undefined {
  try {
    return lstatSync(path).ino;
  } catch {
    return undefined;
  }
}
