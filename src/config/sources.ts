import { constants } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Problem, quote } from "./problem.ts";

/** What lies at the path of a config. */
export interface Sources {
  /** In the order in which they are merged. None means the defaults. */
  readonly files: readonly Source[];
  readonly problems: readonly Problem[];
  /** A hash of all that is above: equal as long as nothing changed. */
  readonly digest: string;
}

export interface Source {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads the file at `path`, or if that is a directory its files whose names begin with `ip-masq`, in name order.
 * No more than 4 MiB altogether are read, and nothing but regular files. Throws nothing: what cannot be read is
 * a problem, and what is not there is no file.
 */
export async function readSources(path: string): Promise<Sources> {
  const reader = new Reader();
  await reader.read(path);
  const { files, problems } = reader;
  const hash = new Bun.CryptoHasher("sha256");
  for (const { path, bytes } of files) hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  hash.update(JSON.stringify(problems));
  return { files, problems, digest: hash.digest("hex") };
}

const MIB = 1024 * 1024;
const MOST_BYTES = 4 * MIB;
/** Small, since each sync reads the config: filling 4 MiB with zeros takes half a millisecond. */
const PIECE_BYTES = 64 * 1024;

class Reader {
  readonly files: Source[] = [];
  readonly problems: Problem[] = [];
  private left = MOST_BYTES;

  async read(path: string): Promise<void> {
    try {
      const found = await stat(path);
      if (found.isDirectory()) await this.readDirectory(path);
      else if (found.isFile()) await this.readFile(path);
      else this.refuse(path, "is neither a file nor a directory", "give the path of a file");
    } catch (error) {
      if (codeOf(error) !== "ENOENT") this.refuseFor(path, error);
    }
  }

  private async readDirectory(directory: string): Promise<void> {
    const passedOver: string[] = [];
    for (const name of (await readdir(directory)).sort()) {
      if (name.startsWith(".")) continue;
      const path = join(directory, name);
      const ours = name.startsWith("ip-masq") && (await this.isFile(path));
      if (ours) await this.readFile(path).catch(error => this.refuseFor(path, error));
      else passedOver.push(name);
    }
    if (this.files.length > 0 || this.problems.length > 0 || passedOver.length === 0) return;
    const names = passedOver.slice(0, MOST_NAMED).map(quote).join(", ");
    const more = passedOver.length > MOST_NAMED ? ` and ${passedOver.length - MOST_NAMED} more` : "";
    this.problems.push({
      severity: "warning",
      at: { file: directory },
      what: `no file here is named ip-masq…, so the defaults apply; passed over: ${names}${more}`,
      remedy: 'name the config "ip-masq-agent", or give the path of the file itself',
    });
  }

  private async isFile(path: string): Promise<boolean> {
    try {
      return (await stat(path)).isFile();
    } catch (error) {
      this.refuseFor(path, error);
      return false;
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
