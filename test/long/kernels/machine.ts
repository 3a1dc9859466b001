import { mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Lines } from "../../../lab/lines.ts";
import { unpackPackages } from "../../debian/packages.ts";
import { commandOf } from "../../debian/tools.ts";
import { writeInitramfs } from "./initramfs.ts";
import type { Kernel } from "./kernels.ts";

/** Two cores, so that packets pass while rules change; without five-level page tables, which are slow. */
const HARDWARE = "-cpu max,la57=off -accel tcg,thread=multi -smp 2 -m 3072 -nodefaults".split(" ");

/**
 * On a panic, the kernel reboots at once, which ends the emulator. The kernel must trust the processor's clock: reading
 * an emulated clock device stops all cores.
 */
const KERNEL_COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable";

/** An emulated machine with a Debian kernel and the project in its initramfs. */
export class Machine {
  /** The lines from its second serial port. */
  readonly results: Lines;

  readonly #emulator: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #folder: string;

  private constructor(emulator: Bun.Subprocess<"ignore", "pipe", "inherit">, folder: string) {
    this.#emulator = emulator;
    this.#folder = folder;
    this.results = new Lines(emulator.stdout);
  }

  /** Starts a machine with its files in the empty /run of lab/isolate. It ends by itself, or after a timeout in seconds. */
  static async start(kernel: Kernel, seconds: number): Promise<Machine> {
    const folder = await mkdtemp("/run/machine-");
    const initrd = join(folder, "initrd");
    await writeInitramfs(kernel, initrd);
    const boot = ["-kernel", kernel.image, "-initrd", initrd, "-append", KERNEL_COMMAND_LINE, "-no-reboot"];
    const ports = ["-display", "none", "-serial", `file:${consoleIn(folder)}`, "-serial", "stdio"];
    const program = Bun.spawn([...(await emulator()), ...HARDWARE, ...boot, ...ports], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
      timeout: seconds * 1000,
      killSignal: "SIGKILL",
    });
    return new Machine(program, folder);
  }

  /** The last lines on its console. */
  async said(lines = 40): Promise<string> {
    const text = await readFile(consoleIn(this.#folder), "utf8").catch(() => "");
    return text.trimEnd().split(/\r?\n/).slice(-lines).join("\n");
  }

  async end(): Promise<void> {
    this.#emulator.kill("SIGKILL");
    await this.#emulator.exited;
    await rm(this.#folder, { recursive: true });
  }
}

/** The command of an emulator without hardware acceleration; it is downloaded once (37 MB, 3 s). */
export async function emulator(): Promise<string[]> {
  const root = join(await unpackPackages("qemu", "trixie", ["qemu-system-x86"]), "root");
  const firmware = ["qemu", "seabios"].flatMap(it => ["-L", join(root, "usr/share", it)]);
  return [...(await commandOf(root, "usr/bin/qemu-system-x86_64")), ...firmware];
}

function consoleIn(folder: string): string {
  return join(folder, "console");
}
