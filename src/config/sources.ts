import { type BigIntStats, constants } from "node:fs";
import { open, readdir, readlink, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { formatDuration } from "../net/duration.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { within } from "../system/timing.ts";
import { isConfigName, looksLikeConfigName } from "./config-name.ts";
import { type Problem, quote } from "./problem.ts";

/** What lies at the path of a config. */
export interface Sources {
  readonly path: string;
  /** In the order in which they are merged. None means the defaults. */
  readonly files: readonly Source[];
  readonly problems: readonly Problem[];
  /** Whether nothing exists at the path. */
  readonly missing: boolean;
  /** A hash of all that is above: equal as long as nothing changed. */
  readonly digest: string;
}

export interface Source {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** One look at the path, and the state of the files while it was taken. */
export interface Look extends Sources {
  readonly files: readonly FileLook[];
  /** Paths that lead nowhere: the config's own, or a symbolic link in its directory. */
  readonly absent: readonly Pick<FileLook, "path" | "real">[];
  /** Whether nothing changed between the first and the last byte that was read. */
  readonly steady: boolean;
}

/** A file as it was while it was read. */
export interface FileLook extends Source {
  /** The path without symbolic links. */
  readonly real: string;
  /** Where a file of that name lies if it is not a symbolic link: to tell a link from a file. */
  readonly own: string;
  /** Device, inode and time of birth: a file that takes the place of another one differs. */
  readonly identity: string;
  /** Size and time of the last write, in nanoseconds. */
  readonly modified: string;
  /** Time of the last write, or change of name or attributes, in nanoseconds since 1970. */
  readonly changed: bigint;
  /** Whether name or attributes changed after the last write. */
  readonly renamedLater: boolean;
  /** A hash of the bytes. */
  readonly digest: string;
  readonly empty: boolean;
}

/**
 * Reads the file at `path`, or if that is a directory its files for which {@link isConfigName} holds, in name order. It
 * reads at most 4 MiB altogether, and only regular files; a file that changes meanwhile is read again. Throws nothing:
 * a file that cannot be read, keeps changing, or hangs for longer than `deadline` milliseconds is a problem. A missing
 * path has no files.
 */
export async function readSources(path: string, deadline = READ_MS): Promise<Sources> {
  // One after the other: each read that hangs holds a thread, and there are only as many as processors, or two.
  const reading = lastRead.then(() => readSteady(path));
  lastRead = reading;
  return (await within(deadline, reading)) ?? refusal(path, timedOut(path, deadline));
}

let lastRead: Promise<unknown> = Promise.resolve();

/** Milliseconds. A local disk answers within a few; a server that restarts may take seconds. */
export const READ_MS = 5000;

/** The problem of a path whose file system did not answer for that many milliseconds. */
export function timedOut(path: string, milliseconds: number): Problem {
  return {
    severity: "error",
    at: { file: path },
    what: `config cannot be read (timed out after ${formatDuration(milliseconds)})`,
    remedy: "check the file system that it lies on: its server or daemon does not answer",
  };
}

async function readSteady(path: string): Promise<Sources> {
  for (const pause of PAUSES_MS) {
    const look = await lookAtSources(path);
    if (look.steady) return look;
    await Bun.sleep(pause);
  }
  const remedy = "wait until the program that writes it is done, then try again";
  return refusal(path, { severity: "error", at: { file: path }, what: "changes while it is read", remedy });
}

/** After each look that was not steady. */
const PAUSES_MS = [0, 20, 50, 100, 200, 300];

function refusal(path: string, problem: Problem): Sources {
  const problems = [problem];
  return { path, files: [], problems, missing: false, digest: digestOf([], problems, false) };
}

/** Reads the same as {@link readSources} once, without a deadline, and reports whether it changed meanwhile. */
export async function lookAtSources(path: string): Promise<Look> {
  const reader = new Reader();
  await reader.read(path);
  const { files, problems, missing, absent } = reader;
  const steady = await reader.unchanged(path);
  return { path, files, problems, missing, absent, steady, digest: digestOf(files, problems, missing) };
}

function digestOf(files: readonly FileLook[], problems: readonly Problem[], missing: boolean): string {
  const hash = new Bun.CryptoHasher("sha256");
  if (missing) hash.update("missing");
  for (const { path, bytes, digest } of files) hash.update(`${path}\0${bytes.length}\0${digest}`);
  hash.update(JSON.stringify(problems));
  return hash.digest("hex");
}

const MIB = 1024 * 1024;
const MOST_BYTES = 4 * MIB;
/** Small, since each sync reads the config: filling 4 MiB with zeros takes half a millisecond. */
const PIECE_BYTES = 64 * 1024;

class Reader {
  readonly files: FileLook[] = [];
  readonly problems: Problem[] = [];
  readonly absent: Pick<FileLook, "path" | "real">[] = [];
  missing = false;
  #names: readonly string[] | undefined;
  #left = MOST_BYTES;

  async read(path: string): Promise<void> {
    try {
      const found = await stat(path);
      if (found.isDirectory()) await this.#readDirectory(path);
      else if (found.isFile()) await this.#readFile(path, path);
      else this.#refuse(path, "is neither a file nor a directory", "give the path of a file");
    } catch (error) {
      if (codeOf(error) === "ENOENT") {
        this.missing = true;
        this.absent.push({ path, real: await destinationOf(path) });
      } else this.#refuseFor(path, error);
    }
  }

  /** Whether the files still exist unchanged. */
  async unchanged(path: string): Promise<boolean> {
    try {
      for (const { path, identity, modified, changed } of this.files) {
        const now = stateOf(await stat(path, { bigint: true }));
        if (now.identity !== identity || now.modified !== modified || now.changed !== changed) return false;
      }
      if (this.#names === undefined) return true;
      return (await readdir(path)).sort().join("/") === this.#names.join("/");
    } catch {
      return false;
    }
  }

  async #readDirectory(directory: string): Promise<void> {
    const passedOver: string[] = [];
    const names = (await readdir(directory)).sort();
    this.#names = names;
    const real = await realpath(directory);
    for (const name of names) {
      if (name.startsWith(".")) continue;
      const path = join(directory, name);
      const isFile = isConfigName(name) ? await this.#isFile(path) : false;
      if (isFile) await this.#readFile(path, join(real, name)).catch(error => this.#refuseFor(path, error));
      else if (isFile === false) passedOver.push(name);
    }
    const nothing = this.files.length === 0 && this.problems.length === 0;
    // kubelet's mark of a volume: each other name is a key of the ConfigMap.
    const told = nothing || names.includes("..data") ? passedOver : passedOver.filter(looksLikeConfigName);
    if (told.length === 0) return;
    const listed = told.slice(0, MOST_NAMED).map(quote).join(", ");
    const more = told.length > MOST_NAMED ? ` and ${told.length - MOST_NAMED} more` : "";
    this.problems.push({
      severity: "warning",
      name: "file-not-read",
      at: { file: directory },
      what: nothing
        ? `no file here has the name of a config, so the defaults apply; found: ${listed}${more}`
        : `not read, because of the name: ${listed}${more}`,
      remedy: 'name a config "config", "config.yaml" or "ip-masq-agent"',
    });
  }

  /** Undefined if it cannot be found out, which is a problem then. */
  async #isFile(path: string): Promise<boolean | undefined> {
    try {
      return (await stat(path)).isFile();
    } catch (error) {
      if (codeOf(error) === "ENOENT") this.absent.push({ path, real: await destinationOf(path) });
      this.#refuseFor(path, error);
      return undefined;
    }
  }

  async #readFile(path: string, own: string): Promise<void> {
    // If it became a FIFO meanwhile, opening it must not wait for a writer.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const found = await file.stat({ bigint: true });
      if (!found.isFile()) return this.#refuse(path, "is not a file any more", "give the path of a file");
      const state = stateOf(found);
      const real = await readlink(`/proc/self/fd/${file.fd}`).catch(() => realpath(path));
      const pieces: Uint8Array[] = [];
      let length = 0;
      for (let read = -1; read !== 0 && length <= this.#left; length += read) {
        const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#left + 1 - length));
        read = (await file.read(piece)).bytesRead;
        pieces.push(piece.subarray(0, read));
      }
      const fits = length <= this.#left;
      this.#left = Math.max(this.#left - length, 0);
      const bytes = Buffer.concat(pieces);
      const digest = Bun.SHA256.hash(bytes, "hex");
      if (fits) this.files.push({ path, own, real, ...state, bytes, digest, empty: length === 0 });
      else
        this.#refuse(
          path,
          `has more than ${MOST_BYTES / MIB} MiB`,
          "make it smaller: is it a config at all?",
        );
    } finally {
      await file.close();
    }
  }

  #refuse(path: string, what: string, remedy: string): void {
    this.problems.push({ severity: "error", at: { file: path }, what, remedy });
  }

  #refuseFor(path: string, error: unknown): void {
    const code = codeOf(error) ?? messageOf(error);
    this.#refuse(
      path,
      `cannot be read (${code})`,
      REMEDIES[code] ?? "look at the path and what is mounted there",
    );
  }
}

const MOST_NAMED = 5;

const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: "give the agent's user the right to read it",
  ELOOP: "a symbolic link leads back to itself: correct it",
  ENOENT: "a symbolic link leads nowhere: correct or remove it",
  ENOTDIR: "a part of the path is a file: correct the path",
};

function stateOf({ dev, ino, birthtimeNs, size, mtimeNs, ctimeNs }: BigIntStats) {
  return {
    identity: `${dev}:${ino}:${birthtimeNs}`,
    modified: `${size}:${mtimeNs}`,
    changed: ctimeNs,
    renamedLater: mtimeNs < ctimeNs,
  };
}

/** Where a path leads that leads nowhere, or how far it can be followed. */
async function destinationOf(path: string, links = MOST_LINKS): Promise<string> {
  const parent = dirname(resolve(path));
  if (parent === resolve(path)) return parent;
  const directory = await realpath(parent).catch(() => destinationOf(parent, links));
  const here = join(directory, basename(path));
  const target = await readlink(here).catch(() => undefined);
  return target === undefined || links === 0 ? here : destinationOf(resolve(directory, target), links - 1);
}

/** The kernel's own limit. */
const MOST_LINKS = 40;
