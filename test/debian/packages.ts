import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { type DownloadOptions, downloadPackages } from "./apt.ts";
import { cached } from "./cache.ts";

/**
 * Unpacks packages of a Debian suite, and all that they depend on, into `root` of a directory of their own in
 * `.cache/debian` of this repository; no script of theirs is run. That is done once: an attempt that fails leaves
 * nothing there.
 *
 * @param name of that directory
 * @param finish adds to it what else it needs
 * @returns the directory
 * @throws Error if they are not here yet and cannot be had
 */
export function unpackPackages(
  name: string,
  suite: string,
  packages: readonly string[],
  finish: (top: string) => Promise<void> = async () => {},
  options: DownloadOptions = {},
): Promise<string> {
  return cached(join("debian", name), async top => {
    const [download, root] = [join(top, "download"), join(top, "root")];
    for (const directory of [download, root]) await mkdir(directory);
    const archives = await downloadPackages(suite, packages, download, options);
    for await (const archive of new Bun.Glob("*.deb").scan({ cwd: archives, absolute: true })) {
      await output(["dpkg", "--extract", archive, root]);
    }
    await rm(download, { recursive: true });
    await finish(top);
  });
}
