/** Bun's executables for each platform of a release. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { $ } from "bun";
import lock from "../package-lock.json";
import { cached } from "./cache.ts";

/** The version in `package-lock.json`. */
export const BUN_VERSION = lock.packages["node_modules/bun"].version;

/** Platforms by Bun's names, and their npm packages. Names without `musl` are for glibc. */
const PLATFORMS = [
  { platform: "linux-x64", name: "@oven/bun-linux-x64" },
  { platform: "linux-x64-musl", name: "@oven/bun-linux-x64-musl" },
  { platform: "linux-arm64", name: "@oven/bun-linux-aarch64" },
  { platform: "linux-arm64-musl", name: "@oven/bun-linux-aarch64-musl" },
] as const;

export interface Runtime {
  readonly platform: (typeof PLATFORMS)[number]["platform"];
  /** Path of Bun for this platform. */
  readonly executable: string;
}

/**
 * Returns Bun for each platform. npm downloads them once (150 MB, 5 s) into `.cache`, because `node_modules` has only
 * the one for this machine, and verifies the checksums of `package-lock.json`.
 *
 * @throws Error if the download fails; npm prints the reason
 */
export async function fetchRuntimes(): Promise<Runtime[]> {
  const top = await cached(`bun-${BUN_VERSION}`, async directory => {
    const dependencies = Object.fromEntries(PLATFORMS.map(({ name }) => [name, BUN_VERSION]));
    // Only version and checksum: npm 9 skips packages that are marked as optional and for another platform.
    const locked = PLATFORMS.map(({ name }) => {
      const { version, integrity } = lock.packages[`node_modules/${name}`];
      return [`node_modules/${name}`, { version, integrity }];
    });
    const packageLock = {
      lockfileVersion: 3,
      packages: { "": { dependencies }, ...Object.fromEntries(locked) },
    };
    await Bun.write(join(directory, "package.json"), JSON.stringify({ private: true, dependencies }));
    await Bun.write(join(directory, "package-lock.json"), JSON.stringify(packageLock));
    // --force, because the packages are for other platforms.
    await $`npm ci --force --ignore-scripts --no-audit --no-fund --loglevel=error`.cwd(directory);
  });
  return PLATFORMS.map(({ platform, name }) => {
    const executable = join(top, "node_modules", name, "bin/bun");
    if (!existsSync(executable)) throw new Error(`${executable} is missing; remove ${top} and build again`);
    return { platform, executable };
  });
}
