/** Bun's executables for every platform of a release: most of each binary is one of them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { $ } from "bun";
import lock from "../package-lock.json";
import { cached } from "../test/debian/cache.ts";

/** The version that `package-lock.json` has. */
export const BUN_VERSION = lock.packages["node_modules/bun"].version;

/** The platforms as Bun names them, those without `musl` being for glibc, and the packages that bring it. */
const PLATFORMS = [
  { platform: "linux-x64", name: "@oven/bun-linux-x64" },
  { platform: "linux-x64-musl", name: "@oven/bun-linux-x64-musl" },
  { platform: "linux-arm64", name: "@oven/bun-linux-aarch64" },
  { platform: "linux-arm64-musl", name: "@oven/bun-linux-aarch64-musl" },
] as const;

export interface Runtime {
  readonly platform: (typeof PLATFORMS)[number]["platform"];
  /** The path of Bun for it. */
  readonly executable: string;
}

/**
 * Returns all of them. npm brings them once (150 MB, 5 s) into `.cache`, since those for other platforms have no
 * place in `node_modules`, and holds them to the checksums of `package-lock.json`.
 *
 * @throws Error if npm does not bring them, which npm then explains
 */
export async function fetchRuntimes(): Promise<Runtime[]> {
  const top = await cached(`bun-${BUN_VERSION}`, async directory => {
    const dependencies = Object.fromEntries(PLATFORMS.map(({ name }) => [name, BUN_VERSION]));
    // Not all that the lock file says of them: what is optional and of another platform makes npm 9 bring nothing at all.
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
    // By force, since they are for other platforms than this machine is.
    await $`npm ci --force --ignore-scripts --no-audit --no-fund --loglevel=error`.cwd(directory);
  });
  return PLATFORMS.map(({ platform, name }) => {
    const executable = join(top, "node_modules", name, "bin/bun");
    if (!existsSync(executable)) throw new Error(`${executable} is missing: remove ${top}, and build again`);
    return { platform, executable };
  });
}
