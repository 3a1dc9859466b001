import { accessSync, constants } from "node:fs";
import { output } from "../lab/output.ts";

/**
 * A file system that never answers until it is released: FUSE without a server. It is mounted over a directory, whose
 * files then hang.
 */
export class HangingFileSystem {
  readonly #holder: Bun.Subprocess<"pipe", "pipe", "inherit">;

  private constructor(
    readonly path: string,
    holder: Bun.Subprocess<"pipe", "pipe", "inherit">,
  ) {
    this.#holder = holder;
  }

  /** The reason why it cannot be mounted here; undefined if it can. */
  static get missing(): string | undefined {
    try {
      accessSync("/dev/fuse", constants.R_OK | constants.W_OK);
      return undefined;
    } catch {
      return "/dev/fuse cannot be opened: load the module fuse, and run as root";
    }
  }

  static async mount(path: string): Promise<HangingFileSystem> {
    const options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    const script = `exec 3<>/dev/fuse; mount -i -t fuse -o ${options} hanging ${path} && echo mounted; read line`;
    const holder = Bun.spawn(["sh", "-c", script], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    const { value } = await holder.stdout.getReader().read();
    if (!value) throw new Error(`cannot mount a file system on ${path}`);
    return new HangingFileSystem(path, holder);
  }

  /** Unmounts it: pending requests fail, and the directory is visible again. */
  async release(): Promise<void> {
    await output(["umount", "-l", this.path]);
    this.#holder.stdin.end();
    await this.#holder.exited;
  }
}
