import { existsSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../src/system/errors.ts";
import { unpackPackages } from "./packages.ts";
import type { Missing } from "./tools.ts";

/** Suite of the roots; their programs see no files of this machine. */
const SUITE = "bookworm";

/** Programs that tests use, with their Debian packages. */
const PROGRAMS = {
  "cni-plugins": ["containernetworking-plugins", "iptables"],
  chromium: ["chromium", "fonts-dejavu-core"],
  docker: ["docker.io", "iptables", "dash", "coreutils"],
  firewalld: ["firewalld", "dbus", "netbase", "dash", "coreutils", "iptables"],
  libvirt: ["libvirt-daemon", "libvirt-clients", "dnsmasq-base", "iptables", "dash", "coreutils"],
  netavark: ["netavark", "iptables"],
  promtool: ["prometheus"],
  shells: ["bash", "zsh", "fish", "ncurses-base", "man-db", "dash", "coreutils"],
};

export type ProgramName = keyof typeof PROGRAMS;

export const PROGRAM_NAMES = Object.keys(PROGRAMS) as readonly ProgramName[];

/** A root file system in which a Debian program runs. */
export interface Chroot {
  readonly root: string;
  /**
   * The command that runs `argv` in this root, with the machine's /proc, /dev and /sys and an empty /run and /tmp. Files
   * that it writes elsewhere are lost when it ends. Must run inside `lab/isolate`.
   *
   * @param visible the absolute path of a directory of this machine to make visible
   */
  command(argv: readonly string[], visible?: string): string[];
}

/** Returns the root of a program, which is downloaded once (40 to 215 MB, 3 s). */
export function debianChroot(name: ProgramName): Promise<Chroot | Missing> {
  return suiteChroot(name, SUITE, PROGRAMS[name]);
}

/**
 * Returns a root with packages of a Debian suite, which are downloaded once.
 *
 * @param name a unique name
 * @param finish completes the root
 */
export async function suiteChroot(
  name: string,
  suite: string,
  packages: readonly string[],
  finish: (root: string) => Promise<void> = async () => {},
): Promise<Chroot | Missing> {
  try {
    const top = await unpackPackages(name, suite, packages, async top => {
      await configure(top);
      await finish(join(top, "root"));
    });
    return chrootOf(join(top, "root"));
  } catch (error) {
    return { missing: `Debian's ${name}: ${messageOf(error)}` };
  }
}

/** A directory as a root. */
export function chrootOf(root: string): Chroot {
  const command = (argv: readonly string[], visible = "") => [
    ...["unshare", "--mount", "sh", "-ec", ENTER, root, visible],
    ...argv,
  ];
  return { root, command };
}

/**
 * Does the part of base packages and package scripts that programs need: the links of a merged /usr, users and groups,
 * and names for iptables.
 */
async function configure(top: string): Promise<void> {
  const root = join(top, "root");
  for (const folder of ["bin", "sbin", "lib", "lib64"]) {
    if (!existsSync(join(root, folder))) await symlink(`usr/${folder}`, join(root, folder));
  }
  await mkdir(join(root, "etc"), { recursive: true });
  await writeFile(
    join(root, "etc/passwd"),
    USERS.map(([name, id]) => `${name}:x:${id}:${id}::/:/bin/sh\n`),
  );
  await writeFile(
    join(root, "etc/group"),
    USERS.map(([name, id]) => `${name}:x:${id}:\n`),
  );
  for (const folder of ["proc", "dev", "sys", "run", "tmp", "var"])
    await mkdir(join(root, folder), { recursive: true });
  if (!existsSync(join(root, "var/run"))) await symlink("/run", join(root, "var/run"));
  for (const program of ["iptables", "ip6tables"].flatMap(it => [it, `${it}-save`, `${it}-restore`])) {
    if (existsSync(join(root, "usr/sbin/xtables-nft-multi"))) {
      await symlink("xtables-nft-multi", join(root, "usr/sbin", program));
    }
  }
}

/** Users, each with a group of the same name. */
const USERS = [
  ["root", 0],
  ["dip", 30],
  ["kvm", 104],
  ["libvirt", 105],
  ["libvirt-qemu", 64_055],
  ["nobody", 65_534],
] as const;

const ENTER = `
  visible=$1; shift
  mount -t tmpfs tmpfs "$0/tmp"
  mkdir "$0/tmp/upper" "$0/tmp/work" "$0/tmp/root"
  mount -t overlay -o "lowerdir=$0,upperdir=$0/tmp/upper,workdir=$0/tmp/work" overlay "$0/tmp/root"
  cd "$0/tmp/root"
  for shared in proc dev sys; do mount --rbind "/$shared" "$shared"; done
  for empty in run tmp; do mount -t tmpfs tmpfs "$empty"; done
  if [ -n "$visible" ]; then mkdir -p ".$visible"; mount --bind "$visible" ".$visible"; fi
  exec chroot . "$@"
`;
