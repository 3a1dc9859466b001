import { existsSync } from "node:fs";
import { rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Missing } from "./debian.ts";
import { unpackPackages } from "./packages.ts";

/** Debian 12, without what is installed on this machine: its programs see no other files. */
const SUITE = "bookworm";

/** What programs of others the tests use, and the packages that bring them. */
const PROGRAMS = {
  "cni-plugins": ["containernetworking-plugins", "iptables"],
  chromium: ["chromium", "fonts-dejavu-core"],
  docker: ["docker.io", "iptables", "dash", "coreutils"],
  firewalld: ["firewalld", "dbus", "netbase", "dash", "coreutils", "iptables"],
  netavark: ["netavark", "iptables"],
  promtool: ["prometheus"],
};

export type ProgramName = keyof typeof PROGRAMS;

export const PROGRAM_NAMES = Object.keys(PROGRAMS) as readonly ProgramName[];

/** The root of a file system in which a program of Debian's runs. */
export interface Chroot {
  readonly root: string;
  /**
   * The command line that runs `argv` in there: with the /proc, /dev and /sys of this machine, an empty /run and /tmp,
   * and everything else read-only. Needs `lab/isolate` around it.
   */
  command(argv: readonly string[]): string[];
}

/** Returns the root of a program; it is downloaded once (40 to 215 MB, 3 s). */
export async function debianChroot(name: ProgramName): Promise<Chroot | Missing> {
  try {
    const root = join(await unpackPackages(name, SUITE, PROGRAMS[name], configure), "root");
    return { root, command: argv => ["unshare", "--mount", "sh", "-ec", ENTER, root, ...argv] };
  } catch (error) {
    return { missing: `Debian's ${name}: ${error instanceof Error ? error.message : error}` };
  }
}

/** What the packages' scripts would have done, as far as it is missed: names for users and groups, and for iptables. */
async function configure(top: string): Promise<void> {
  const root = join(top, "root");
  await writeFile(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  await writeFile(join(root, "etc/group"), "root:x:0:\n");
  if (existsSync(join(root, "etc/docker"))) {
    await rm(join(root, "etc/docker"), { recursive: true });
    await symlink("/run", join(root, "etc/docker")); // it keeps a key there
  }
  for (const program of ["iptables", "ip6tables"].flatMap(it => [it, `${it}-save`, `${it}-restore`])) {
    if (existsSync(join(root, "usr/sbin/xtables-nft-multi"))) {
      await symlink("xtables-nft-multi", join(root, "usr/sbin", program));
    }
  }
}

const ENTER = `
  mount --bind "$0" "$0"
  cd "$0"
  mkdir -p proc dev sys run tmp
  for shared in proc dev sys; do mount --rbind "/$shared" "$shared"; done
  for empty in run tmp; do mount -t tmpfs tmpfs "$empty"; done
  mount -o remount,bind,ro .
  exec chroot . "$@"
`;
