import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";
import { unpackPackages } from "./packages.ts";

/** nft and iptables of another Debian suite, with their own libraries. */
export interface DebianTools {
  readonly suite: string;
  /** The version of nft, for example `1.1.3`. */
  readonly version: string;
  /** The command of nft, without arguments. */
  readonly nft: readonly string[];
  /**
   * A directory to prepend to PATH. It contains nft and the iptables programs of both variants, such as
   * iptables-nft-save and iptables-legacy-save; the plain names are the nft variant.
   */
  readonly wrapper: string;
  /** The root of the unpacked packages. */
  readonly root: string;
}

/** The reason why tools are missing, for people. */
export interface Missing {
  readonly missing: string;
}

/** The suites whose nft and iptables tests use. */
export const SUITES = ["bullseye", "trixie", "forky"];

const PACKAGES = ["nftables", "iptables"];

/**
 * Returns the tools of a suite, which are downloaded once (15 MB, 5 s; 20 to 32 MB on disk).
 */
export async function debianTools(suite: string): Promise<DebianTools | Missing> {
  try {
    const top = await unpackPackages(suite, suite, PACKAGES, writeWrappers);
    const wrapper = join(top, "bin");
    const nft = [join(wrapper, "nft")];
    const [, version = ""] = /v(\S+)/.exec(await output([...nft, "--version"])) ?? [];
    return { suite, version, nft, wrapper, root: join(top, "root") };
  } catch (error) {
    return { missing: `Debian's ${suite}: ${messageOf(error)}` };
  }
}

/** The dynamic loader of a root, and the path of its libraries. */
async function loaderOf(root: string): Promise<{ loader: string; libraries: string }> {
  const loaders = ["lib", "usr/lib"].map(async directory => {
    const cwd = join(root, directory);
    if (!existsSync(cwd)) return [];
    const scan = new Bun.Glob("*/ld-linux*.so.*").scan({ cwd, absolute: true, onlyFiles: false });
    return await Array.fromAsync(scan);
  });
  const [loader] = (await Promise.all(loaders)).flat();
  if (loader === undefined) throw new Error(`${root} has no dynamic loader`);
  const platform = basename(dirname(loader));
  return { loader, libraries: ["lib", "usr/lib"].map(lib => join(root, lib, platform)).join(":") };
}

/**
 * Returns the command line that runs a program below `root` with that root's loader and libraries.
 *
 * @param name the program's `argv[0]`, if it differs from its path
 */
export async function commandOf(root: string, path: string, name?: string): Promise<string[]> {
  const { loader, libraries } = await loaderOf(root);
  const argv0 = name === undefined ? [] : ["--argv0", name];
  return [loader, ...argv0, "--library-path", libraries, join(root, path)];
}

/** Writes wrapper scripts with relative paths, so that the repository can be moved. */
async function writeWrappers(top: string): Promise<void> {
  const { loader, libraries } = await loaderOf(join(top, "root"));
  const extensions = join(top, "root/usr/lib", basename(dirname(loader)), "xtables");
  const bin = join(top, "bin");
  await mkdir(bin);
  for (const [name, program, ...argument] of commands()) {
    const argv = [loader, "--library-path", libraries, join(top, "root/usr/sbin", program), ...argument];
    const command = argv.map(word => `"${word.replaceAll(top, "$top")}"`).join(" ");
    const libdir = extensions.replace(top, "$top");
    const script = `#!/bin/sh\ntop=\${0%/*}/..\nXTABLES_LIBDIR="${libdir}" exec ${command} "$@"\n`;
    await writeFile(join(bin, name), script, { mode: 0o755 });
  }
}

/** Names of commands, each with its program and a first argument that selects the applet. */
type Command = [name: string, program: string, ...argument: string[]];

function commands(): Command[] {
  const iptables = ["iptables", "ip6tables"].flatMap(family =>
    ["", "-save", "-restore"].flatMap((action): Command[] => [
      [`${family}${action}`, "xtables-nft-multi", `${family}${action}`],
      [`${family}-nft${action}`, "xtables-nft-multi", `${family}${action}`],
      [`${family}-legacy${action}`, "xtables-legacy-multi", `${family}${action}`],
    ]),
  );
  return [["nft", "nft"], ...iptables];
}
