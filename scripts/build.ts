/**
 * `npm run build`: builds dist/ipmasq for this machine. With `--binaries`, builds a binary for each platform of a release,
 * such as dist/ipmasq-linux-x64. With `--all`, also builds Debian and RPM packages. Both write SHA256SUMS. The same commit
 * produces the same bytes on every machine with the same processor architecture; Bun records the builder's in two bytes.
 *
 * Without git, set the commit in the environment variable COMMIT. If package.json has a `homepage`, the address of the
 * repository, the status page links to the docs there.
 */
import { rm } from "node:fs/promises";
import { $ } from "bun";
import manifest from "../package.json";
import { commit } from "./commit.ts";
import { BUN_VERSION, fetchRuntimes } from "./runtimes.ts";

const EX_USAGE = 64;
const { version, homepage = "" }: { version: string; homepage?: string } = manifest;

const [mode, ...surplus] = process.argv.slice(2);
const isKnown = mode === undefined || mode === "--all" || mode === "--binaries";
const unknown = isKnown ? surplus[0] : mode;
if (unknown !== undefined) end(EX_USAGE, `unknown argument "${unknown}"; write --binaries or --all`);
if (mode === undefined) await build("ipmasq");
else {
  await rm("dist/SHA256SUMS", { force: true });
  const names = await buildBinaries();
  if (mode === "--all") names.push(...(await buildAllPackages()));
  await writeSums(names);
}

async function buildBinaries(): Promise<string[]> {
  // The Bun that runs this script compiles the bytecode, which only the same version can use.
  if (Bun.version !== BUN_VERSION)
    end(1, `this is Bun ${Bun.version}, but package-lock.json requires ${BUN_VERSION}`);
  const runtimes = await fetchRuntimes().catch(error =>
    end(1, `cannot download Bun ${BUN_VERSION} from npm: ${error.message}`),
  );
  const names: string[] = [];
  for (const { platform, executable } of runtimes) {
    const name = `ipmasq-${platform}`;
    await build(name, { target: `bun-${platform}`, executablePath: executable });
    names.push(name);
  }
  return names;
}

async function buildAllPackages(): Promise<string[]> {
  // The image, which needs only binaries, is built without the tests' downloads.
  const { buildPackages } = await import("./packages.ts");
  // The date of the commit; without git, 0.
  const epoch = Number(await $`git log -1 --format=%ct`.nothrow().quiet().text());
  const names = await buildPackages(version, epoch).catch(error => end(1, error.message));
  for (const name of names) process.stdout.write(`dist/${name}\n`);
  return names;
}

async function writeSums(names: readonly string[]): Promise<void> {
  const sums = names.map(async name => {
    const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(`dist/${name}`).bytes());
    return `${sum.digest("hex")}  ${name}\n`;
  });
  await Bun.write("dist/SHA256SUMS", (await Promise.all(sums)).join(""));
}

/** Builds dist/NAME. */
async function build(name: string, runtime: Bun.CompileBuildOptions = {}): Promise<void> {
  const result = await Bun.build({
    entrypoints: ["src/main.ts"],
    compile: {
      ...runtime,
      outfile: `dist/${name}`,
      // The binary must not read configuration from its working directory.
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadPackageJson: false,
      autoloadTsconfig: false,
    },
    target: "bun",
    format: "esm",
    minify: true,
    // Adds 3.1 MB, but cuts `ipmasq version` from 29 ms to 13 ms (Bun 1.4.5). Minifying saves 0.3 MB, but no time.
    bytecode: true,
    // Code that is imported later is not decoded at start: 12 ms instead of 15 for `ipmasq version`, 1.2 MB less when idle.
    // The names of the parts depend on the path of node_modules below this directory, so it must not be a link.
    splitting: true,
    define: {
      IPMASQ_VERSION: JSON.stringify(version),
      IPMASQ_COMMIT: JSON.stringify(commit),
      IPMASQ_SOURCE: JSON.stringify(homepage),
    },
    throw: false,
  });
  for (const message of result.logs) process.stderr.write(`${message}\n`);
  if (!result.success) {
    // If the disk is full, Bun leaves an incomplete file.
    await rm(`dist/${name}`, { force: true });
    end(1, `cannot build dist/${name}`);
  }
  process.stdout.write(`dist/${name}: version ${version}, commit ${commit}\n`);
}

function end(exitCode: number, why: string): never {
  process.stderr.write(`build: ${why}\n`);
  process.exit(exitCode);
}
