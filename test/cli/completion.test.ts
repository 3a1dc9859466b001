import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { ipmasq } from "../binary.ts";
import { type Chroot, debianChroot } from "../debian/chroot.ts";
import { absent } from "../programs.ts";

/** How each shell starts without its user's settings, and loads completions. */
const SHELLS = {
  bash: { start: ["bash", "--norc", "--noprofile", "-i"], load: (file: string) => `source ${file}` },
  zsh: {
    start: ["zsh", "-f", "-i"],
    load: (file: string) => `autoload -U compinit; compinit -u; source ${file}`,
  },
  fish: { start: ["fish", "--no-config", "-i"], load: (file: string) => `source ${file}` },
};
/** Instead of the program: prints the completed command line. */
const ECHO = {
  fish: 'function ipmasq; printf "<%s>\\n" "$argv"; end',
  other: 'ipmasq() { printf "<%s>\\n" "$*"; }',
};

/** Typed text, with Tab as `\t`, and the resulting arguments. */
const CASES = [
  ["sta\t", "status"],
  ["chec\t--str\t", "check --strict"],
  ["--backend=nft\t", "--backend=nftables"],
  ["--backend nft\t", "--backend nftables"],
  ["explain -o js\t", "explain -o json"],
  ["status --output js\t", "status --output json"],
  ["status --wat\t", "status --watch"],
  ["check --once\t", "check --once"],
  ["completion z\t", "completion zsh"],
  ["help fla\t", "help flags"],
  ["check -c /etc/pass\t", "check -c /etc/passwd"],
] as const;

/** The times that a shell gets to complete a word, in milliseconds: it drops what it reads meanwhile. */
const TIMEOUTS = [80, 400, 2000];

const shells = await debianChroot("shells");
if ("missing" in shells) absent(shells.missing);
else
  describe.each(Object.keys(SHELLS) as (keyof typeof SHELLS)[])("%s", name => {
    let shell: Shell;
    beforeAll(async () => {
      shell = await Shell.start(shells, name);
    });
    afterAll(() => shell.close());

    test.each(CASES)("%j becomes %s", async (typed, completed) => {
      let entered = "";
      for (const timeout of TIMEOUTS)
        if (entered !== completed) entered = await shell.entered(`ipmasq ${typed}`, timeout);
      expect(entered).toBe(completed);
    });
  });

test.each([[[]], [["tcsh"]], [["bash", "zsh"]]])("completion %p is wrong usage", async args => {
  expect(await ipmasq(["completion", ...args])).toEqual({
    stdout: "",
    stderr: "ipmasq: `completion` needs the name of a shell; write bash, zsh or fish\n",
    exitCode: 64,
  });
});

/** An interactive shell on a terminal, with the completions loaded. */
class Shell {
  #output = "";
  readonly #child: Bun.Subprocess;
  readonly #terminal: Bun.Terminal;

  private constructor(
    argv: readonly string[],
    terminal: string,
    readonly folder: string,
  ) {
    const decoder = new TextDecoder();
    this.#terminal = new Bun.Terminal({
      cols: 250,
      rows: 50,
      data: (_, chunk) => {
        this.#output += decoder.decode(chunk, { stream: true });
      },
    });
    this.#child = Bun.spawn([...argv], {
      terminal: this.#terminal,
      env: { TERM: terminal, HOME: "/tmp", PATH: process.env.PATH, LC_ALL: "C.UTF-8" },
    });
  }

  static async start(root: Chroot, name: keyof typeof SHELLS): Promise<Shell> {
    const folder = await mkdtemp("/tmp/ipmasq-");
    const file = join(folder, "completions");
    await Bun.write(file, (await ipmasq(["completion", name])).stdout);
    const { start, load } = SHELLS[name];
    // A shell that controls no terminal does not edit lines.
    const argv = ["setsid", "--ctty", "--wait", ...root.command(start, folder)];
    const shell = new Shell(argv, name === "fish" ? "xterm" : "dumb", folder);
    shell.#terminal.write(`${load(file)}\n${name === "fish" ? ECHO.fish : ECHO.other}\n`);
    await shell.entered("ipmasq ready", 0);
    return shell;
  }

  /** Types a line and Enter, and returns the arguments of `ipmasq`. */
  async entered(line: string, timeout: number): Promise<string> {
    this.#output = "";
    for (const part of line.split(/(?<=\t)/)) {
      this.#terminal.write(part);
      if (part.endsWith("\t")) await Bun.sleep(timeout);
    }
    this.#terminal.write("\n");
    const result = () => /<([^%>]*?) *>/.exec(this.#output)?.[1];
    for (let tries = 0; result() === undefined && tries < 200; tries++) await Bun.sleep(20);
    return result() ?? this.#output;
  }

  async close(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    this.#terminal.close();
    await rm(this.folder, { recursive: true });
  }
}
