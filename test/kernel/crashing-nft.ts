import { mkdir, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { save } from "../../lab/save.ts";

/**
 * The behaviour of an nft.
 *
 * - `ok`: works.
 * - `crash`: ends by a segmentation fault, except on `list chains`.
 * - `crash beside newer`: crashes like nft 0.9.8 and 1.0.6 on a set that a newer nft declared by `type` (measured): on
 *   `list tables`, `list ruleset`, `monitor` and all input through `-f`.
 * - `hang`: never ends.
 * - `leave a child`: works, but leaves a child process that keeps standard output and error open.
 * - `fail`: prints a message to standard error and exits with 1.
 */
export type NftMode = "ok" | "crash" | "crash beside newer" | "hang" | "leave a child" | "fail";

/**
 * What a monitor that was started with lies does with transactions of our tables: `silent` drops all, `drops one` and
 * `repeats one` change the next one.
 */
export type MonitorLie = "nothing" | "silent" | "drops one" | "repeats one";

/**
 * An nft for an agent in the lab that fails on demand, also while the agent runs.
 *
 *     const nft = await CrashingNft.create();
 *     const agent = RunningAgent.start(lab.node, flags, [...nft.environment, BINARY]);
 *     await nft.become("crash");
 */
export class CrashingNft {
  private constructor(
    /** The directory of the `nft`, to prepend to PATH. */
    readonly folder: string,
  ) {}

  /**
   * Creates the directory in the empty /run of lab/isolate, with an nft that is `ok`.
   *
   * @param real the absolute path of the real nft
   * @param lies whether its monitors can lie
   */
  static async create(real = Bun.which("nft"), lies = false): Promise<CrashingNft> {
    if (real === null) throw new Error("nft is not in PATH");
    const nft = new CrashingNft(await mkdtemp("/run/nft-"));
    await mkdir(join(nft.folder, "monitors"));
    await writeFile(join(nft.folder, "real"), `${real}\n`);
    await writeFile(join(nft.folder, "calls"), "");
    await nft.lie("nothing");
    await nft.become("ok");
    await writeFile(join(nft.folder, "nft"), lies ? `${SCRIPT}${LYING}${REAL}` : `${SCRIPT}${REAL}`, {
      mode: 0o755,
    });
    return nft;
  }

  /** The command that runs a program with this nft; the program follows. */
  get environment(): readonly string[] {
    return ["env", `PATH=${this.folder}:${process.env.PATH}`];
  }

  /**
   * Sets the behaviour from now on. Running monitors crash too; other modes do not end them.
   *
   * @param message the output of `fail`
   */
  async become(
    mode: NftMode,
    message = "Error: Could not process rule: Device or resource busy",
  ): Promise<void> {
    await save(join(this.folder, "message"), `${message}\n`);
    await save(join(this.folder, "mode"), `${mode}\n`);
    if (mode === "crash" || mode === "crash beside newer") await this.signalMonitors("SIGSEGV");
  }

  /** Makes its monitors lie from now on. */
  async lie(what: MonitorLie): Promise<void> {
    await save(join(this.folder, "lie"), what);
  }

  /** The arguments of each call so far, oldest first. */
  async calls(): Promise<string[]> {
    return (await readFile(join(this.folder, "calls"), "utf8")).split("\n").slice(0, -1);
  }

  /** Sends a signal to all running monitors. */
  async signalMonitors(signal: "SIGSEGV" | "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    for await (const pid of new Bun.Glob("*").scan(join(this.folder, "monitors"))) {
      const argv = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      if (argv.includes("monitor")) process.kill(Number(pid), signal);
    }
  }
}

/** Uses shell builtins where possible, because the agent calls nft often. */
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
`;

/** The monitor stays a child of the agent, and the filter ends with it. */
const LYING = `
case "$*" in *monitor*)
	${Bun.which("mkfifo")} "$here/$$.fifo"
	${process.execPath} ${join(import.meta.dirname, "monitor-filter.ts")} "$here" <"$here/$$.fifo" &
	exec "$real" "$@" >"$here/$$.fifo" ;;
esac
`;

const REAL = `exec "$real" "$@"
`;
