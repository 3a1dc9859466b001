import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface DownloadOptions {
  /** Debian's name of the architecture; by default this machine's. */
  readonly architecture?: string;
  /** Packages to download without their dependencies. */
  readonly alone?: readonly string[];
  /** Source packages to download. */
  readonly sources?: readonly string[];
  /** Metapackages, to download only the package that each depends on first. */
  readonly targetsOf?: readonly string[];
}

/**
 * Downloads packages of a Debian suite with their dependencies, from this machine's mirror. apt keeps its state in
 * `directory`: it needs no root, and ignores the packages installed on this machine.
 *
 * @param suite the suite, for example `bookworm` or `bookworm-security`
 * @param directory the absolute path of an empty directory
 * @returns the directory of the .deb files, and of the files of source packages
 * @throws Error if this machine has no mirror with the suite
 */
export async function downloadPackages(
  suite: string,
  packages: readonly string[],
  directory: string,
  { architecture, alone = [], sources = [], targetsOf = [] }: DownloadOptions = {},
): Promise<string> {
  if (!existsSync(KEYRING)) throw new Error(`${KEYRING} is missing: install debian-archive-keyring`);
  const [lists, archives] = [join(directory, "lists"), join(directory, "archives")];
  for (const part of [lists, archives]) await mkdir(join(part, "partial"), { recursive: true });
  const mirrors = await mirrorsOf(suite, lists);
  const options = ["-q", "-c", join(directory, "apt.conf")];
  const apt = ["apt-get", ...options];
  await writeFile(join(directory, "apt.conf"), configuration(directory, architecture));
  await writeFile(join(directory, "status"), "");

  let failure: unknown = "no source of apt's on this machine is of the kind";
  for (const mirror of mirrors) {
    const types = [["deb", "Packages"], ...(sources.length > 0 ? [["deb-src", "Sources"]] : [])];
    const lines = types.map(
      ([type, target]) => `${type} [signed-by=${KEYRING} target=${target}] ${mirror} ${suite} main\n`,
    );
    await writeFile(join(directory, "sources.list"), lines);
    try {
      await output([...apt, "update"]);
      await output([...apt, "--yes", "--no-install-recommends", "--download-only", "install", ...packages]);
      const targets = await Promise.all(targetsOf.map(it => targetOf(it, ["apt-cache", ...options])));
      const single = [...alone, ...targets];
      if (single.length > 0) await output(["env", `--chdir=${archives}`, ...apt, "download", ...single]);
      if (sources.length > 0)
        await output(["env", `--chdir=${archives}`, ...apt, "source", "--download-only", ...sources]);
      return archives;
    } catch (error) {
      failure = messageOf(error);
    }
  }
  throw new Error(`no package source of this machine has ${suite}: ${failure}`);
}

/** The first dependency of a metapackage. */
async function targetOf(metapackage: string, cache: readonly string[]): Promise<string> {
  const depends = await output([...cache, "depends", "--important", metapackage]);
  const target = /Depends: (\S+)/.exec(depends)?.[1];
  if (target === undefined) throw new Error(`${metapackage} depends on nothing`);
  return target;
}

/**
 * The archives of this machine's apt: for releases, those with a suite without a dash; for security updates, those with
 * a suite that ends in `-security`.
 */
export async function mirrorsOf(suite: string, emptyLists: string): Promise<string[]> {
  const options = [`Dir::State::lists=${emptyLists}`, "Debug::NoLocking=true"].flatMap(set => ["-o", set]);
  const uris = await output(["apt-get", ...options, "--print-uris", "update"]);
  const kind = suite.endsWith("-security") ? "[^/']+-security" : "[^/'-]+";
  const releases = uris.matchAll(new RegExp(`^'(\\S+)/dists/${kind}/InRelease'`, "gm"));
  return [...new Set(Array.from(releases, match => match[1] ?? ""))];
}

/** Overrides parts of the machine's settings, which can contain a default release and hooks. Its proxy stays. */
function configuration(directory: string, architecture?: string): string {
  const foreign =
    architecture && `APT::Architecture "${architecture}"; APT::Architectures { "${architecture}"; };`;
  return `
    ${foreign ?? ""}
    #clear APT::Update::Post-Invoke;
    #clear APT::Update::Post-Invoke-Success;
    Dir::State "${directory}";
    Dir::State::lists "lists";
    Dir::State::status "${directory}/status";
    Dir::Cache "${directory}";
    Dir::Cache::archives "archives";
    Dir::Cache::pkgcache "";
    Dir::Cache::srcpkgcache "";
    Dir::Etc::sourcelist "${directory}/sources.list";
    Dir::Etc::sourceparts "/dev/null";
    Dir::Etc::preferences "/dev/null";
    Dir::Etc::preferencesparts "/dev/null";
    APT::Default-Release "";
    APT::Sandbox::User "";
    Acquire::Languages "none";
    Acquire::http::Timeout "20";
    Debug::NoLocking "true";
  `;
}
