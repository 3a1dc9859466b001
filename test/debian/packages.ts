import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { cached } from "../../scripts/cache.ts";
import { type DownloadOptions, downloadPackages } from "./apt.ts";

/**
 * Unpacks packages of a Debian suite with their dependencies into `root` of a directory in this repository's
 * `.cache/debian`, once, without running their scripts. A failed attempt leaves nothing.
 *
 * @param name the name of the directory
 * @param finish completes the directory
 * @returns the directory
 * @throws Error if the packages cannot be downloaded
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
