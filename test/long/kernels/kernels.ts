import { existsSync } from "node:fs";
import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../../lab/output.ts";
import { unpackPackages } from "../../debian/packages.ts";
import { depmod } from "./userland.ts";

/** A kernel of Debian's. */
export interface Kernel {
  /** As `uname -r` says. */
  readonly release: string;
  /** The compressed image that a boot loader loads. */
  readonly image: string;
  /** The directory of the modules, which belongs to `/lib/modules`. */
  readonly modules: string;
}

/** Of each supported release, the suite that its nodes get their kernel from. */
export const KERNEL_SUITES = ["bullseye-security", "bookworm-security", "trixie-security"];

/** Returns a suite's kernel for virtual machines; it is downloaded once (20 to 35 MB, 3 s). */
export async function kernelOf(suite: string): Promise<Kernel> {
  const options = { targetsOf: ["linux-image-cloud-amd64"] };
  const top = await unpackPackages(`kernel-${suite}`, suite, [], finish, options);
  const modules = join(top, "root/lib/modules");
  const [release = ""] = await readdir(modules);
  return { release, image: join(top, `root/boot/vmlinuz-${release}`), modules: join(modules, release) };
}

/** Modules lie in /usr/lib from trixie on; which of them needs which, a script of the package would have noted. */
async function finish(top: string): Promise<void> {
  const root = join(top, "root");
  if (existsSync(join(root, "usr/lib/modules"))) {
    await mkdir(join(root, "lib"), { recursive: true });
    await rename(join(root, "usr/lib/modules"), join(root, "lib/modules"));
  }
  for (const release of await readdir(join(root, "lib/modules"))) {
    await output([...(await depmod()), "--basedir", root, release]);
  }
}
