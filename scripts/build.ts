/**
 * `npm run build`: makes dist/ipmasq for this machine. With `--all` it makes dist/ipmasq-linux-x64 and the like, one
 * for every platform of a release, and SHA256SUMS of them. One commit has one sum, wherever it is built, as long as
 * that is a machine of the same processor: Bun notes that of the builder, in two bytes.
 *
 * Where there is no git, COMMIT in the environment says what is built.
 */
import { rm } from "node:fs/promises";
import { $ } from "bun";
import { version } from "../package.json";
import { BUN_VERSION, fetchRuntimes } from "./runtimes.ts";

const EX_USAGE = 64;

const [mode, ...surplus] = process.argv.slice(2);
const unknown = mode === "--all" ? surplus[0] : mode;
if (unknown !== undefined) end(EX_USAGE, `unknown argument "${unknown}"; there is --all, and nothing else`);
const commit =
  process.env.COMMIT?.replace(/^([0-9a-f]{12})[0-9a-f]*/, "$1") ||
  (await $`git describe --always --dirty --abbrev=12 --exclude=${"*"}`.nothrow().quiet().text()).trim() ||
  "unknown";
if (mode === undefined) await build("ipmasq");
else await buildAll();

async function buildAll(): Promise<void> {
  // The Bun that runs this makes the bytecode, which is of no use to one of another version.
  if (Bun.version !== BUN_VERSION)
    end(1, `this is Bun ${Bun.version}, and package-lock.json has ${BUN_VERSION}`);
  const runtimes = await fetchRuntimes().catch(error =>
    end(1, `no Bun ${BUN_VERSION} from npm: ${error.message}`),
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

/** Makes a file of that name in dist. */
async function build(name: string, runtime: Bun.CompileBuildOptions = {}): Promise<void> {
  const result = await Bun.build({
    entrypoints: ["src/main.ts"],
    compile: {
      ...runtime,
      outfile: `dist/${name}`,
      // A binary that is started in somebody's directory reads nothing that happens to lie there.
      autoloadDotenv: false,
      autoloadBunfig: false,
      autoloadPackageJson: false,
      autoloadTsconfig: false,
    },
    target: "bun",
    format: "esm",
    minify: true,
    // 3.1 MB, for a start of 13 ms rather than 29 (`ipmasq version`, Bun 1.4.5); minify saves 0.3 MB and no time.
    bytecode: true,
    define: { IPMASQ_VERSION: JSON.stringify(version), IPMASQ_COMMIT: JSON.stringify(commit) },
    throw: false,
  });
  for (const message of result.logs) process.stderr.write(`${message}\n`);
  if (!result.success) {
    // Where the disk is full it leaves half of one.
    await rm(`dist/${name}`, { force: true });
    end(1, `dist/${name} is not built`);
  }
  process.stdout.write(`dist/${name}: version ${version}, commit ${commit}\n`);
}

function end(exitCode: number, why: string): never {
  process.stderr.write(`build: ${why}\n`);
  process.exit(exitCode);
}
