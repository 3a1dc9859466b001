import { constants } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { isConfigName, looksLikeConfigName } from "./config-name.ts";
import { type Problem, quote } from "./problem.ts";

/** What lies at the path of a config. */
export interface Sources {
  readonly path: string;
  /** In the order in which they are merged. None means the defaults. */
  readonly files: readonly Source[];
  readonly problems: readonly Problem[];
  /** Whether there is nothing at the path, not even a directory. */
  readonly missing: boolean;
  /** A hash of all that is above: equal as long as nothing changed. */
  readonly digest: string;
}

export interface Source {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads the file at `path`, or if that is a directory its files for which {@link isConfigName} holds, in name
 * order. No more than 4 MiB altogether are read, and nothing but regular files. Throws nothing: what cannot be read is
 * a problem, and what is not there is no file.
 */
export async function readSources(path: string): Promise<Sources> {
  const reader = new Reader();
  await reader.read(path);
  const { files, problems, missing } = reader;
  const hash = new Bun.CryptoHasher("sha256");
  if (missing) hash.update("missing");
  for (const { path, bytes } of files) hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  hash.update(JSON.stringify(problems));
  return { path, files, problems, missing, digest: hash.digest("hex") };
}

const MIB = 1024 * 1024;
const MOST_BYTES = 4 * MIB;
/** Small, since each sync reads the config: filling 4 MiB with zeros takes half a millisecond. */
const PIECE_BYTES = 64 * 1024;

class Reader {
  readonly files: Source[] = [];
  readonly problems: Problem[] = [];
  missing = false;
  private left = MOST_BYTES;

  async read(path: string): Promise<void> {
    try {
      const found = await stat(path);
      if (found.isDirectory()) await this.readDirectory(path);
      else if (found.isFile()) await this.readFile(path);
      else this.refuse(path, "is neither a file nor a directory", "give the path of a file");
    } catch (error) {
      if (codeOf(error) === "ENOENT") this.missing = true;
      else this.refuseFor(path, error);
    }
  }

  private async readDirectory(directory: string): Promise<void> {
    const passedOver: string[] = [];
    const names = (await readdir(directory)).sort();
    for (const name of names) {
      if (name.startsWith(".")) continue;
      const path = join(directory, name);
      const isFile = isConfigName(name) ? await this.isFile(path) : false;
      if (isFile) await this.readFile(path).catch(error => this.refuseFor(path, error));
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
  private async isFile(path: string): Promise<boolean | undefined> {
    try {
      return (await stat(path)).isFile();
    } catch (error) {
      this.refuseFor(path, error);
      return undefined;
    }
  }

  private async readFile(path: string): Promise<void> {
    // What became a FIFO since it was looked at must not make us wait for somebody who writes into it.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const pieces: Uint8Array[] = [];
      let length = 0;
      for (let read = -1; read !== 0 && length <= this.left; length += read) {
        const piece = new Uint8Array(Math.min(PIECE_BYTES, this.left + 1 - length));
        read = (await file.read(piece)).bytesRead;
        pieces.push(piece.subarray(0, read));
      }
      const fits = length <= this.left;
      this.left = Math.max(this.left - length, 0);
      if (fits) this.files.push({ path, bytes: Buffer.concat(pieces) });
      else
        this.refuse(path, `has more than ${MOST_BYTES / MIB} MiB`, "make it smaller: is it a config at all?");
    } finally {
      await file.close();
    }
  }

  private refuse(path: string, what: string, remedy: string): void {
    this.problems.push({ severity: "error", at: { file: path }, what, remedy });
  }

  private refuseFor(path: string, error: unknown): void {
    const code = codeOf(error);
    this.refuse(
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

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? `${error.code}` : `${error}`;
}
