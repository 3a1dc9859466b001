import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../../src/system/errors.ts";
import { type Chroot, suiteChroot } from "../../debian/chroot.ts";
import { unpackPackages } from "../../debian/packages.ts";
import type { Missing } from "../../debian/tools.ts";

/** The Debian suites whose roots run the binary, from the oldest available glibc to the newest. */
export const ROOT_SUITES = ["bullseye", "bookworm", "trixie", "forky"] as const;

/** Returns the root of a small node with the glibc, nft and iptables of a suite (15 MB, 5 s). */
export function nodeRoot(suite: (typeof ROOT_SUITES)[number]): Promise<Chroot | Missing> {
  return suiteChroot(`root-${suite}`, suite, ["nftables", "iptables"]);
}

/** Runs programs for another processor. */
export interface Emulator {
  /** The command that runs `argv` with the files of this machine. Its child processes are not emulated. */
  command(argv: readonly string[]): string[];
}

/** The emulated processors. The x64 is a Nehalem of 2008, which has SSE4.2 but no newer extensions. */
const EMULATORS = {
  arm64: { architecture: "arm64", command: ["qemu-aarch64-static"] },
  Nehalem: { architecture: "amd64", command: ["qemu-x86_64-static", "-cpu", "Nehalem"] },
} as const;

export type Processor = keyof typeof EMULATORS;

export const PROCESSORS: readonly Processor[] = ["arm64", "Nehalem"];

/** Returns an emulator for a processor: qemu with the glibc of Debian 12 (30 MB, 10 s). */
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

/** The package contains emulators of 40 processors, 5 to 20 MB each. */
async function onlyOurs(top: string): Promise<void> {
  await mkdir(join(top, "bin"));
  for (const { command } of Object.values(EMULATORS)) {
    await rename(join(top, "root/usr/bin", command[0]), join(top, "bin", command[0]));
  }
  await rm(join(top, "root"), { recursive: true });
}
