import { existsSync } from "node:fs";
import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { output } from "../../../lab/output.ts";
import { unpackPackages } from "../../debian/packages.ts";
import { command } from "./userland.ts";

/** A Debian kernel. */
export interface Kernel {
  /** As `uname -r` prints it. */
  readonly release: string;
  /** The compressed image for a boot loader. */
  readonly image: string;
  /** The directory of the modules, for `/lib/modules`. */
  readonly modules: string;
}

/** The suites that provide the kernel of each supported release. */
export const KERNEL_SUITES = ["bullseye-security", "bookworm-security", "trixie-security"];

/** Returns a suite's kernel for virtual machines; it is downloaded once (20 to 35 MB, 3 s). */
export async function kernelOf(suite: string): Promise<Kernel> {
  const options = { targetsOf: ["linux-image-cloud-amd64"] };
  const top = await unpackPackages(`kernel-${suite}`, suite, [], finish, options);
  const modules = join(top, "root/lib/modules");
  const [release = ""] = await readdir(modules);
  return { release, image: join(top, `root/boot/vmlinuz-${release}`), modules: join(modules, release) };
}

/** Finds the modules, which are in /usr/lib since trixie, and runs depmod as the package's script would. */
async function finish(top: string): Promise<void> {
  const root = join(top, "root");
  if (existsSync(join(root, "usr/lib/modules"))) {
    await mkdir(join(root, "lib"), { recursive: true });
    await rename(join(root, "usr/lib/modules"), join(root, "lib/modules"));
  }
  for (const release of await readdir(join(root, "lib/modules"))) {
    await output([...(await command("depmod")), "--basedir", root, release]);
  }
}
