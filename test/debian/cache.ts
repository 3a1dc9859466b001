import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isIsolated } from "../../lab/namespace.ts";

/** What is downloaded and built once. */
export const CACHE = join(import.meta.dirname, "../../.cache");

/**
 * Makes a directory in `.cache` of this repository, once: an attempt that fails leaves nothing there, and of several
 * at the same time one counts.
 *
 * @param name its path in there
 * @param make fills an empty directory, which gets that name when it is full
 * @returns its absolute path
 * @throws what `make` throws, and Error where there is no network to make it by
 */
export async function cached(name: string, make: (directory: string) => Promise<void>): Promise<string> {
  const path = join(CACHE, name);
  if (existsSync(path)) return path;
  if (isIsolated()) throw new Error("not here yet, and lab/isolate has no network");
  await mkdir(dirname(path), { recursive: true });
  const scratch = await mkdtemp(`${dirname(path)}/.${name.replaceAll("/", "-")}-`);
  try {
    const directory = join(scratch, "made");
    await mkdir(directory);
    await make(directory);
    await rename(directory, path).catch(error => {
      if (!existsSync(path)) throw error; // else somebody else was faster
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return path;
}
