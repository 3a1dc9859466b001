import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../../src/system/errors.ts";
import { type Chroot, suiteChroot } from "../../debian/chroot.ts";
import { unpackPackages } from "../../debian/packages.ts";
import type { Missing } from "../../debian/tools.ts";

/** The suites of Debian whose roots a binary is tried in, from the oldest glibc that can be had to the newest. */
export const ROOT_SUITES = ["bullseye", "bookworm", "trixie", "forky"] as const;

/** Returns the root of a small node: the glibc of a suite, its nft and its iptables (15 MB, 5 s). */
export function nodeRoot(suite: (typeof ROOT_SUITES)[number]): Promise<Chroot | Missing> {
  return suiteChroot(`root-${suite}`, suite, ["nftables", "iptables"]);
}

/** A way to run programs for another processor. */
export interface Emulator {
  /** The command line that runs `argv` here, with the files of this machine. What it starts itself is not emulated. */
  command(argv: readonly string[]): string[];
}

/** The processors that there are emulators for. An x64 that has SSE4.2 and nothing newer is a Nehalem, of 2008. */
const EMULATORS = {
  arm64: { architecture: "arm64", command: ["qemu-aarch64-static"] },
  Nehalem: { architecture: "amd64", command: ["qemu-x86_64-static", "-cpu", "Nehalem"] },
} as const;

export type Processor = keyof typeof EMULATORS;

export const PROCESSORS: readonly Processor[] = ["arm64", "Nehalem"];

/** Returns what runs programs for a processor and glibc: qemu and the libc of Debian 12 (30 MB, 10 s). */
export async function emulator(processor: Processor): Promise<Emulator | Missing> {
  const { architecture, command } = EMULATORS[processor];
  const [program, ...options] = command;
  try {
    const qemu = await unpackPackages("qemu-user", "bookworm", ["qemu-user-static"], onlyOurs);
    const libc = await unpackPackages(`libc6-${architecture}`, "bookworm", ["libc6"], undefined, {
      architecture,
    });
    const emulating = [join(qemu, "bin", program), ...options, "-L", join(libc, "root")];
    return { command: argv => [...emulating, ...argv] };
  } catch (error) {
    return { missing: `qemu for ${processor}: ${messageOf(error)}` };
  }
}

/** The package has emulators of 40 processors, of 5 to 20 MB each. */
async function onlyOurs(top: string): Promise<void> {
  await mkdir(join(top, "bin"));
  for (const { command } of Object.values(EMULATORS)) {
    await rename(join(top, "root/usr/bin", command[0]), join(top, "bin", command[0]));
  }
  await rm(join(top, "root"), { recursive: true });
}
