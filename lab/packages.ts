import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { downloadPackages } from "./apt.ts";
import { isIsolated } from "./isolated.ts";
import { output } from "./output.ts";

const CACHE = join(import.meta.dirname, "../.cache/debian");

/**
 * Unpacks packages of a Debian suite, and all that they depend on, into `root` of a directory of their own in
 * `.cache/debian` of this repository; no script of theirs is run. That is done once: an attempt that fails leaves
 * nothing there.
 *
 * @param name of that directory
 * @param finish adds to it what else it needs
 * @param alone packages without what they depend on
 * @returns the directory
 * @throws Error if they are not here yet and cannot be had
 */
export async function unpackPackages(
  name: string,
  suite: string,
  packages: readonly string[],
  finish: (top: string) => Promise<void> = async () => {},
  alone: readonly string[] = [],
): Promise<string> {
  const top = join(CACHE, name);
  if (existsSync(top)) return top;
  if (isIsolated()) throw new Error("not here yet, and lab/isolate has no network: `bun lab/fetch.ts`");
  await mkdir(CACHE, { recursive: true });
  // Under a name of its own first, so that what lies under the right one is always whole.
  const scratch = await mkdtemp(join(CACHE, `.${name}-`));
  try {
    const archives = await downloadPackages(suite, packages, scratch, alone);
    const root = join(scratch, "top/root");
    await mkdir(root, { recursive: true });
    for await (const archive of new Bun.Glob("*.deb").scan({ cwd: archives, absolute: true })) {
      await output(["dpkg", "--extract", archive, root]);
    }
    await finish(join(scratch, "top"));
    await rename(join(scratch, "top"), top).catch(error => {
      if (!existsSync(top)) throw error; // else somebody else was faster
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  return top;
}
