import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { LoadOptions } from "../../src/config/load.ts";
import { type Loaded, loadConfig } from "../../src/config/load.ts";
import { formatProblems } from "../../src/config/problem.ts";

/** A temporary folder with configs in it. */
export class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(files: Readonly<Record<string, string | Uint8Array>>): Promise<Folder> {
    const folder = new Folder(await mkdtemp(join(tmpdir(), "config-")));
    for (const [name, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder.path, name)), { recursive: true });
      await writeFile(join(folder.path, name), content);
    }
    return folder;
  }

  load(name: string, options: Partial<LoadOptions> = {}): Promise<Loaded> {
    return loadConfig(join(this.path, name), options);
  }

  /** The printed problems of a config, with paths relative to the folder. */
  async problems(name: string, options: Partial<LoadOptions> = {}): Promise<string[]> {
    const { problems } = await this.load(name, options);
    return formatProblems(problems).map(line => line.replaceAll(`${this.path}/`, ""));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true });
  }
}

/** The printed problems of a config in the file `c`. */
export async function problemsOf(
  content: string | Uint8Array,
  options: Partial<LoadOptions> = {},
): Promise<string[]> {
  await using folder = await Folder.create({ c: content });
  return await folder.problems("c", options);
}
