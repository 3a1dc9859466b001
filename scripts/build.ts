/**
 * `npm run build`: builds dist/ipmasq for this machine. With `--all`, builds a binary for each platform of a release,
 * such as dist/ipmasq-linux-x64, and SHA256SUMS. The same commit produces the same bytes on every machine with the same
 * processor architecture; Bun records the builder's in two bytes.
 *
 * Without git, set the commit in the environment variable COMMIT.
 */
import { rm } from "node:fs/promises";
import { $ } from "bun";
import { version } from "../package.json";
import { BUN_VERSION, fetchRuntimes } from "./runtimes.ts";

const EX_USAGE = 64;

const [mode, ...surplus] = process.argv.slice(2);
const unknown = mode === "--all" ? surplus[0] : mode;
if (unknown !== undefined) end(EX_USAGE, `unknown argument "${unknown}"; the only argument is --all`);
const commit =
  process.env.COMMIT?.replace(/^([0-9a-f]{12})[0-9a-f]*/, "$1") ||
  (await $`git describe --always --dirty --abbrev=12 --exclude=${"*"}`.nothrow().quiet().text()).trim() ||
  "unknown";
if (mode === undefined) await build("ipmasq");
else await buildAll();

async function buildAll(): Promise<void> {
  // The Bun that runs this script compiles the bytecode, which only the same version can use.
  if (Bun.version !== BUN_VERSION)
    end(1, `this is Bun ${Bun.version}, but package-lock.json requires ${BUN_VERSION}`);
  const runtimes = await fetchRuntimes().catch(error =>
    end(1, `cannot download Bun ${BUN_VERSION} from npm: ${error.message}`),
  );
  await rm("dist/SHA256SUMS", { force: true });
  const sums: string[] = [];
  for (const { platform, executable } of runtimes) {
    const name = `ipmasq-${platform}`;
    await build(name, { target: `bun-${platform}`, executablePath: executable });
    const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(`dist/${name}`).bytes());
    sums.push(`${sum.digest("hex")}  ${name}\n`);
  }
  await Bun.write("dist/SHA256SUMS", sums.join(""));
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
    define: { IPMASQ_VERSION: JSON.stringify(version), IPMASQ_COMMIT: JSON.stringify(commit) },
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
