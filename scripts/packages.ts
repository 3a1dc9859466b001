/**
 * The Debian and RPM packages of a release, from the binaries in dist/, by dpkg-deb and rpmbuild. The same commit gives
 * the same bytes.
 */
import { chmod, copyFile, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { $ } from "bun";
import { unpackPackages } from "../test/debian/packages.ts";
import { commandOf } from "../test/debian/tools.ts";
import { manPage } from "./man.ts";

const ROOT = join(import.meta.dir, "..");
const PACKAGES = join(ROOT, "deploy/packages");
/** The names of an architecture: of the binary in dist/, of Debian, and of RPM. */
const ARCHITECTURES = [
  { binary: "ipmasq-linux-x64", debian: "amd64", rpm: "x86_64" },
  { binary: "ipmasq-linux-arm64", debian: "arm64", rpm: "aarch64" },
] as const;

/** Flags of rpmbuild: nothing from the machine, and no programs that change the files. */
const RPM_MACROS = {
  __os_install_post: "%{nil}",
  debug_package: "%{nil}",
  _build_id_links: "none",
  _binary_payload: "w9.zstdio",
  _buildhost: "localhost",
  use_source_date_epoch_as_buildtime: "1",
  build_mtime_policy: "clamp_to_source_date_epoch",
};

/**
 * Builds dist/ipmasq_VERSION_ARCHITECTURE.deb and dist/ipmasq-VERSION-1.ARCHITECTURE.rpm.
 *
 * @param epoch the date of the files, in seconds since 1970
 * @returns the names in dist/
 * @throws Error if dpkg-deb is missing, or rpmbuild cannot be downloaded
 */
export async function buildPackages(version: string, epoch: number): Promise<string[]> {
  if (Bun.which("dpkg-deb") === null)
    throw new Error("packages need dpkg-deb: build them on Debian or Ubuntu");
  const rpm = join(await unpackPackages("rpm", "trixie", ["rpm"]), "root");
  const scratch = await mkdtemp(join(tmpdir(), "ipmasq-packages-"));
  try {
    const names: string[] = [];
    for (const { binary, debian, rpm: architecture } of ARCHITECTURES) {
      const tree = join(scratch, debian);
      await installTree(tree, binary);
      names.push(await buildRpm(rpm, tree, scratch, version, architecture, epoch));
      names.push(await buildDeb(tree, version, debian, epoch));
    }
    return names;
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/** Fills a directory with the files of a package. */
async function installTree(tree: string, binary: string): Promise<void> {
  const environment = { ...process.env, DESTDIR: tree, PREFIX: "/usr" };
  await $`${join(ROOT, "deploy/systemd/install")} ${join(ROOT, "dist", binary)}`.env(environment).quiet();
  const write = async (path: string, content: string | Uint8Array) => {
    await Bun.write(join(tree, path), content);
    await chmod(join(tree, path), 0o644);
  };
  const completion = (shell: string) =>
    $`${process.execPath} ${join(ROOT, "src/main.ts")} completion ${shell}`.text();
  await write("usr/share/bash-completion/completions/ipmasq", await completion("bash"));
  await write("usr/share/zsh/site-functions/_ipmasq", await completion("zsh"));
  await write("usr/share/fish/vendor_completions.d/ipmasq.fish", await completion("fish"));
  await write("usr/share/man/man8/ipmasq.8.gz", compressed(manPage()));
  await write("usr/share/doc/ipmasq/copyright", await Bun.file(join(ROOT, "LICENSE")).text());
  await write(
    "usr/share/doc/ipmasq/changelog.gz",
    compressed(await Bun.file(join(ROOT, "CHANGELOG.md")).text()),
  );
  await write("etc/default/ipmasq", await Bun.file(join(PACKAGES, "default")).text());
}

/** The same bytes on each machine: without a name and a date. */
function compressed(text: string): Uint8Array {
  return Bun.gzipSync(text, { level: 9 });
}

async function buildRpm(
  root: string,
  tree: string,
  scratch: string,
  version: string,
  architecture: string,
  epoch: number,
): Promise<string> {
  const files = await filesOf(tree);
  const filelist = join(scratch, "files");
  await Bun.write(
    filelist,
    files
      .filter(it => !it.startsWith("/etc/"))
      .map(it => `${it}\n`)
      .join(""),
  );
  const macros = { ...RPM_MACROS, version, tree, filelist, _topdir: join(scratch, "rpm"), _rpmdir: scratch };
  const defines = Object.entries(macros).flatMap(([name, value]) => ["--define", `${name} ${value}`]);
  const command = await commandOf(root, "usr/bin/rpmbuild");
  await $`${command} --quiet -bb --target ${architecture} ${defines} ${join(PACKAGES, "ipmasq.spec")}`
    .env({ ...process.env, RPM_CONFIGDIR: join(root, "usr/lib/rpm"), SOURCE_DATE_EPOCH: `${epoch}` })
    .quiet();
  const name = `ipmasq-${version}-1.${architecture}.rpm`;
  await copyFile(join(scratch, architecture, name), join(ROOT, "dist", name));
  return name;
}

async function buildDeb(tree: string, version: string, architecture: string, epoch: number): Promise<string> {
  // Debian's directory of completions for zsh.
  await mkdir(join(tree, "usr/share/zsh/vendor-completions"));
  await rename(
    join(tree, "usr/share/zsh/site-functions/_ipmasq"),
    join(tree, "usr/share/zsh/vendor-completions/_ipmasq"),
  );
  await rm(join(tree, "usr/share/zsh/site-functions"), { recursive: true });
  const size = Math.ceil(Number((await $`du --summarize --bytes ${tree}`.text()).split("\t")[0]) / 1024);
  await Bun.write(join(tree, "DEBIAN/control"), control(version, architecture, size));
  await Bun.write(join(tree, "DEBIAN/conffiles"), "/etc/default/ipmasq\n");
  for (const script of ["postinst", "prerm", "postrm"]) {
    await copyFile(join(PACKAGES, script), join(tree, "DEBIAN", script));
    await chmod(join(tree, "DEBIAN", script), 0o755);
  }
  const name = `ipmasq_${version}_${architecture}.deb`;
  const target = join(ROOT, "dist", name);
  await $`dpkg-deb --root-owner-group -Zzstd -z9 --build ${tree} ${target}`
    .env({ ...process.env, SOURCE_DATE_EPOCH: `${epoch}` })
    .quiet();
  return name;
}

function control(version: string, architecture: string, size: number): string {
  return `Package: ipmasq
Version: ${version}
Architecture: ${architecture}
Maintainer: The ipmasq authors <ipmasq@localhost>
Installed-Size: ${size}
Section: net
Priority: optional
Depends: libc6 (>= 2.17)
Recommends: nftables (>= 1.0.2) | iptables, conntrack
Description: node agent that masquerades traffic with nftables or iptables
 ipmasq decides, per destination, whether traffic leaving a Linux node is
 masqueraded or keeps its source address. It is a drop-in successor of
 ip-masq-agent.
`;
}

/** The files below a directory, as absolute paths in it. */
async function filesOf(directory: string): Promise<string[]> {
  const scan = new Bun.Glob("**/*").scan({ cwd: directory, dot: true });
  return (await Array.fromAsync(scan)).map(path => `/${path}`).sort();
}
