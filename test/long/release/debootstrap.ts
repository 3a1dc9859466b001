import { join } from "node:path";
import { cached } from "../../../scripts/cache.ts";
import { messageOf } from "../../../src/system/errors.ts";
import { mirrorsOf } from "../../debian/apt.ts";
import { type Chroot, chrootOf } from "../../debian/chroot.ts";
import type { Missing } from "../../debian/tools.ts";

/** The Debian suites of the clean systems. */
export const CLEAN_SUITES = ["bookworm", "trixie"] as const;

/** A clean Debian system with systemd, nft, iptables and rpm, made once (30 s, 300 MB). Needs root and mmdebstrap. */
export async function cleanSystem(suite: (typeof CLEAN_SUITES)[number]): Promise<Chroot | Missing> {
  try {
    const top = await cached(`debian/clean-${suite}`, directory =>
      debootstrap(suite, directory, join(directory, "root"), [
        "--include=systemd,nftables,iptables,procps,rpm,zstd",
      ]),
    );
    return chrootOf(join(top, "root"));
  } catch (error) {
    return { missing: `a clean Debian ${suite}: ${messageOf(error)}` };
  }
}

/**
 * Makes a Debian root by mmdebstrap.
 *
 * @param scratch a directory for files of apt
 * @param target a directory, or a file named *.tar
 * @throws Error with the output of mmdebstrap, if each mirror fails
 */
export async function debootstrap(
  suite: string,
  scratch: string,
  target: string,
  options: readonly string[],
): Promise<void> {
  let failure: unknown;
  for (const mirror of await mirrorsOf(suite, scratch)) {
    try {
      await finished([
        ...["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", ...options],
        ...[suite, target, mirror],
      ]);
      return;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}

/** Runs a program that can take minutes. Throws Error with its output if it fails. */
export async function finished(argv: readonly string[]): Promise<void> {
  const child = Bun.spawn([...argv], { stdio: ["ignore", "pipe", "pipe"] });
  const printed = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${argv.join(" ")}:\n${printed.join("")}`);
}
