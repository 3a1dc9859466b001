import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { save } from "../../lab/save.ts";

/**
 * What an nft does with a call.
 *
 * - `ok`: what nft does.
 * - `crash`: ends by a segmentation fault on everything but `list chains`.
 * - `crash beside newer`: ends so where nft 0.9.8 and 1.0.6 do when a newer one declared a set by `type` (measured):
 *   on `list tables`, `list ruleset`, `monitor` and everything that is read with `-f`.
 * - `hang`: never ends.
 * - `leave a child`: what nft does, but a process that it started keeps its standard output and error open.
 * - `fail`: prints a message on standard error and exits with 1.
 */
export type NftMode = "ok" | "crash" | "crash beside newer" | "hang" | "leave a child" | "fail";

/**
 * An nft, for an agent in the lab, whose calls fail as a test wants; that can be changed while the agent runs.
 *
 *     const nft = await CrashingNft.create();
 *     const agent = RunningAgent.start(lab.node, flags, [...nft.environment, BINARY]);
 *     await nft.become("crash");
 */
export class CrashingNft {
  private constructor(
    /** The directory to put in front of PATH: it has an `nft`. */
    readonly folder: string,
  ) {}

  /**
   * Makes the directory, in the empty /run of lab/isolate. It begins as `ok`.
   *
   * @param real the nft behind it, by its absolute path
   */
  static async create(real = Bun.which("nft")): Promise<CrashingNft> {
    if (real === null) throw new Error("nft is not in PATH");
    const nft = new CrashingNft(await mkdtemp("/run/nft-"));
    await mkdir(join(nft.folder, "monitors"));
    await writeFile(join(nft.folder, "real"), `${real}\n`);
    await writeFile(join(nft.folder, "calls"), "");
    await nft.become("ok");
    await writeFile(join(nft.folder, "nft"), SCRIPT, { mode: 0o755 });
    return nft;
  }

  /** The beginning of a command line that runs a program with this nft. */
  get environment(): readonly string[] {
    return ["env", `PATH=${this.folder}:${process.env.PATH}`];
  }

  /**
   * What calls do from now on. Monitors that run already crash with the other calls; they are not ended otherwise.
   *
   * @param message what `fail` prints
   */
  async become(
    mode: NftMode,
    message = "Error: Could not process rule: Device or resource busy",
  ): Promise<void> {
    await save(join(this.folder, "message"), `${message}\n`);
    await save(join(this.folder, "mode"), `${mode}\n`);
    if (mode === "crash" || mode === "crash beside newer") await this.#crashMonitors();
  }

  /** The arguments of each call up to now, the oldest first. */
  async calls(): Promise<string[]> {
    return (await readFile(join(this.folder, "calls"), "utf8")).split("\n").slice(0, -1);
  }

  async #crashMonitors(): Promise<void> {
    for await (const pid of new Bun.Glob("*").scan(join(this.folder, "monitors"))) {
      const argv = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      if (argv.includes("monitor")) process.kill(Number(pid), "SIGSEGV");
    }
  }
}

/** A shell's own commands where possible: the agent calls nft often. */
const SCRIPT = `#!/bin/sh
here=\${0%/*}
ulimit -c 0
echo "$*" >>"$here/calls"
case "$*" in *monitor*) : >"$here/monitors/$$" ;; esac
read -r mode <"$here/mode"
read -r real <"$here/real"
case "$mode/$*" in
crash/*"list chains"*) ;;
crash/*) kill -SEGV $$ ;;
"crash beside newer"/*"list tables"* | "crash beside newer"/*"list ruleset"*) kill -SEGV $$ ;;
"crash beside newer"/*monitor* | "crash beside newer"/*"-f "*) kill -SEGV $$ ;;
hang/*) exec sleep 3600 ;;
"leave a child"/*) sleep 3600 & ;;
fail/*) read -r message <"$here/message"; echo "$message" >&2; exit 1 ;;
esac
exec "$real" "$@"
`;
