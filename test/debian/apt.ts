import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { messageOf } from "../../src/system/errors.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

export interface DownloadOptions {
  /** As Debian names it; that of this machine if left out. */
  readonly architecture?: string;
  /** Packages without what they depend on. */
  readonly alone?: readonly string[];
  /** Metapackages, of each of which only the package that it stands for is wanted, alone. */
  readonly targetsOf?: readonly string[];
}

/**
 * Downloads packages of a Debian suite, and all that they depend on, from the mirror that this machine uses.
 * The apt behind it has its state in `directory`: it needs no root, and neither asks what is installed here nor
 * changes it.
 *
 * @param suite `bookworm`, say, or `bookworm-security`
 * @param directory an empty one, by its absolute path
 * @returns the directory that the .deb files are in
 * @throws Error if this machine knows no mirror, or none that has the suite
 */
export async function downloadPackages(
  suite: string,
  packages: readonly string[],
  directory: string,
  { architecture, alone = [], targetsOf = [] }: DownloadOptions = {},
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
    const source = `deb [signed-by=${KEYRING} target=Packages] ${mirror} ${suite} main\n`;
    await writeFile(join(directory, "sources.list"), source);
    try {
      await output([...apt, "update"]);
      await output([...apt, "--yes", "--no-install-recommends", "--download-only", "install", ...packages]);
      const targets = await Promise.all(targetsOf.map(it => targetOf(it, ["apt-cache", ...options])));
      const single = [...alone, ...targets];
      if (single.length > 0) await output(["env", `--chdir=${archives}`, ...apt, "download", ...single]);
      return archives;
    } catch (error) {
      failure = messageOf(error);
    }
  }
  throw new Error(`${suite} cannot be had from where this machine has its packages: ${failure}`);
}

/** The first package that a metapackage depends on. */
async function targetOf(metapackage: string, cache: readonly string[]): Promise<string> {
  const depends = await output([...cache, "depends", "--important", metapackage]);
  const target = /Depends: (\S+)/.exec(depends)?.[1];
  if (target === undefined) throw new Error(`${metapackage} depends on nothing`);
  return target;
}

/**
 * The archives that this machine's apt knows: of releases, those with a suite that has no dash in its name; of their
 * security updates, those with one that ends so.
 */
export async function mirrorsOf(suite: string, emptyLists: string): Promise<string[]> {
  const options = [`Dir::State::lists=${emptyLists}`, "Debug::NoLocking=true"].flatMap(set => ["-o", set]);
  const uris = await output(["apt-get", ...options, "--print-uris", "update"]);
  const kind = suite.endsWith("-security") ? "[^/']+-security" : "[^/'-]+";
  const releases = uris.matchAll(new RegExp(`^'(\\S+)/dists/${kind}/InRelease'`, "gm"));
  return [...new Set(Array.from(releases, match => match[1] ?? ""))];
}

/** Read after the machine's own, which may name a proxy, a default release, and programs to run afterwards. */
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
