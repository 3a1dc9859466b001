import { readdir, realpath, stat } from "node:fs/promises";
import { join } from "node:path";
import { formatDuration } from "../net/duration.ts";
import { quote } from "../net/parse-failure.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { brokenPath, type FileState, fileState, readRegularFile } from "../system/regular-file.ts";
import { within } from "../system/timing.ts";
import type { Problem } from "./problem.ts";

/** The files at the path of a config. */
export interface Sources {
  readonly path: string;
  /** The files in the order in which they are merged. No files means the defaults. */
  readonly files: readonly Source[];
  readonly problems: readonly Problem[];
  /** Whether the path does not exist. */
  readonly missing: boolean;
  /** A hash of everything above. The hash is equal while nothing changes. */
  readonly digest: string;
}

export interface Source {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** One look at the path, with the state of the files at that time. */
export interface Look extends Sources {
  readonly files: readonly FileLook[];
  /** Paths that do not exist: the config's own, or broken symbolic links in its directory. */
  readonly absent: readonly Pick<FileLook, "path" | "real">[];
  /** Whether nothing changed while the files were read. */
  readonly steady: boolean;
}

/** A file at the time when it was read. */
export interface FileLook extends Source, FileState {
  /** The path without symbolic links. */
  readonly real: string;
  /** The real path if the name is not a symbolic link. Differs from `real` if the name is a symbolic link. */
  readonly own: string;
  /** A hash of the bytes. */
  readonly digest: string;
  readonly empty: boolean;
}

/**
 * Whether a file of this name in a config directory is read: `ip-masq*`, or `config` with or without the extension of
 * YAML or JSON. In a mounted ConfigMap the file names are its keys.
 */
export function isConfigName(name: string): boolean {
  return name.startsWith("ip-masq") || /^config(\.(yaml|yml|json))?$/.test(name);
}

/** Whether a file that is not read was probably meant as a config. */
function looksLikeConfigName(name: string): boolean {
  return isConfigName(name) || /\.(yaml|yml|json)$/i.test(name);
}

/**
 * Reads the file at `path`. If `path` is a directory, reads its files with a {@link isConfigName config name}, in name
 * order. Reads only regular files, at most 4 MiB in total, and repeats the reading if a file changes meanwhile. Never
 * throws: a file that cannot be read, keeps changing, or takes longer than `deadline` milliseconds is a problem.
 */
export async function readSources(path: string, deadline = READ_MS): Promise<Sources> {
  // Reads run one at a time: a read that hangs blocks a thread, and a small machine has only two.
  const reading = lastRead.then(() => readSteady(path));
  lastRead = reading;
  return (await within(deadline, reading)) ?? refusal(path, timedOut(path, deadline));
}

let lastRead: Promise<unknown> = Promise.resolve();

/** Milliseconds. A local disk takes a few; a file server that restarts may take seconds. */
export const READ_MS = 5000;

/** The error for a file system that did not respond within some milliseconds. */
export function timedOut(path: string, milliseconds: number): Problem {
  return {
    severity: "error",
    at: { file: path },
    what: `config cannot be read (timed out after ${formatDuration(milliseconds)})`,
    remedy: "check its file system: the server or daemon behind it does not respond",
  };
}

async function readSteady(path: string): Promise<Sources> {
  for (const pause of PAUSES_MS) {
    const look = await lookAtSources(path);
    if (look.steady) return look;
    await Bun.sleep(pause);
  }
  const remedy = "try again when its writer is done";
  return refusal(path, {
    severity: "error",
    at: { file: path },
    what: "keeps changing while it is read",
    remedy,
  });
}

/** Milliseconds before each reading. The files are read again if they changed while they were read. */
const PAUSES_MS = [0, 20, 50, 100, 200, 300];

function refusal(path: string, problem: Problem): Sources {
  const problems = [problem];
  return { path, files: [], problems, missing: false, digest: digestOf([], problems, false) };
}

/** Reads like {@link readSources}, but once and without a deadline. */
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

class Reader {
  readonly files: FileLook[] = [];
  readonly problems: Problem[] = [];
  readonly absent: Pick<FileLook, "path" | "real">[] = [];
  missing = false;
  #names: readonly string[] | undefined;
  #bytesLeft = MOST_BYTES;

  async read(path: string): Promise<void> {
    try {
      const found = await stat(path);
      if (found.isDirectory()) await this.#readDirectory(path);
      else if (found.isFile()) await this.#readFile(path, path);
      else this.#refuse(path, "is not a file or directory", "use the path of a file");
    } catch (error) {
      if (codeOf(error) === "ENOENT") {
        this.missing = true;
        this.absent.push({ path, real: await brokenPath(path) });
      } else this.#refuseFor(path, error);
    }
  }

  /** Whether the files still exist unchanged. */
  async unchanged(path: string): Promise<boolean> {
    try {
      for (const { path, identity, modified, changed } of this.files) {
        const now = fileState(await stat(path, { bigint: true }));
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
    // Kubelet's mark of a volume: all other names are keys of the ConfigMap.
    const reported =
      nothing || names.includes("..data") ? passedOver : passedOver.filter(looksLikeConfigName);
    if (reported.length === 0) return;
    const listed = reported.slice(0, MOST_NAMED).map(quote).join(", ");
    const more = reported.length > MOST_NAMED ? ` and ${reported.length - MOST_NAMED} more` : "";
    this.problems.push({
      severity: "warning",
      name: "file-not-read",
      at: { file: directory },
      what: nothing
        ? `no file here is named like a config, so the defaults apply; found: ${listed}${more}`
        : `not read because of the name: ${listed}${more}`,
      remedy: 'name configs "config", "config.yaml" or "ip-masq-agent"',
    });
  }

  /** Undefined, with a problem, if the file cannot be examined. */
  async #isFile(path: string): Promise<boolean | undefined> {
    try {
      return (await stat(path)).isFile();
    } catch (error) {
      if (codeOf(error) === "ENOENT") this.absent.push({ path, real: await brokenPath(path) });
      this.#refuseFor(path, error);
      return undefined;
    }
  }

  async #readFile(path: string, own: string): Promise<void> {
    const content = await readRegularFile(path, this.#bytesLeft);
    if (!content) return this.#refuse(path, "is no longer a file", "use the path of a file");
    const { length } = content.bytes;
    const fits = length <= this.#bytesLeft;
    this.#bytesLeft = Math.max(this.#bytesLeft - length, 0);
    if (fits) {
      const digest = Bun.SHA256.hash(content.bytes, "hex");
      this.files.push({ path, own, ...content, digest, empty: length === 0 });
    } else {
      const what = `is larger than ${MOST_BYTES / MIB} MiB`;
      this.#refuse(path, what, "check that it is a config");
    }
  }

  #refuse(path: string, what: string, remedy: string): void {
    this.problems.push({ severity: "error", at: { file: path }, what, remedy });
  }

  #refuseFor(path: string, error: unknown): void {
    const code = codeOf(error) ?? messageOf(error);
    this.#refuse(path, `cannot be read (${code})`, REMEDIES[code] ?? "check the path and its file system");
  }
}

const MOST_NAMED = 5;

const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: "give the agent permission to read it",
  ELOOP: "fix the symbolic link: it leads to itself",
  ENOENT: "fix or remove the broken symbolic link",
  ENOTDIR: "fix the path: a part of it is a file",
};
