import { join } from "node:path";

const ROOT = join(import.meta.dir, "../..");

/** The pages whose blocks are run. README.zh-CN.md has only blocks of README.md, which test/docs.test.ts checks. */
export const RUN_PAGES: readonly string[] = ["README.md", ...new Bun.Glob("docs/*.md").scanSync(ROOT)].sort();

/** A block of code in a page, without its indentation. */
export interface Block {
  readonly page: string;
  /** Line of the page, from 1. */
  readonly line: number;
  readonly lines: readonly string[];
}

/** A command, and the lines below it that quote its output. */
export interface Quoted {
  readonly command: string;
  readonly output: readonly string[];
}

/** Returns the blocks of a page: lines indented by four spaces or more, after an empty line. */
export async function blocksOf(page: string): Promise<Block[]> {
  const lines = (await Bun.file(join(ROOT, page)).text()).split("\n");
  const blocks: Block[] = [];
  for (let i = 0; i < lines.length; i++) {
    if (!isCode(lines[i]) || (i > 0 && lines[i - 1] !== "")) continue;
    let end = i;
    while (isCode(lines[end]) || (lines[end] === "" && isCode(lines[end + 1]))) end++;
    const code = lines.slice(i, end);
    const indent = Math.min(...code.filter(Boolean).map(line => line.search(/\S/)));
    blocks.push({ page, line: i + 1, lines: code.map(line => line.slice(indent)) });
    i = end;
  }
  return blocks;
}

/** Whether a block has a prompt: `$ `, or `# ` before a command of root. */
export function isSession({ lines: [first = ""] }: Block): boolean {
  return promptedBy(first) !== undefined;
}

/** The commands of a session, with their outputs. */
export function sessionOf({ lines }: Block): Quoted[] {
  const quotes: { command: string; output: string[] }[] = [];
  for (const line of lines) {
    const command = promptedBy(line);
    if (command !== undefined) quotes.push({ command, output: [] });
    else quotes.at(-1)?.output.push(line);
  }
  return quotes;
}

/** The text of a block, without comments at the ends of lines. */
export function codeOf({ lines }: Pick<Block, "lines">): string {
  return lines.map(line => line.replace(/ +#.*/, "")).join("\n");
}

/** The commands of a block without prompts, or undefined if it is not one of commands. */
export function scriptOf({ lines }: Block): string[] | undefined {
  const commands = codeOf({ lines })
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter(Boolean);
  return commands.every(isCommand) ? commands : undefined;
}

/** The programs that a line starts, without `sudo` and variables. */
export function programsOf(command: string): string[] {
  return command.split(/ (?:&&|\|) /).map(part => {
    const words = part.split(" ").filter(word => word !== "sudo" && !/^[A-Z_]+=/.test(word));
    return words[0] ?? "";
  });
}

/** Programs that start a line of a block of commands. A block that starts with another word is data. */
const PROGRAMS = new Set(
  [
    "apt cat docker conntrack cosign cp curl dist/ipmasq dnf echo helm ipmasq iptables iptables-legacy kubectl mkdir nft npm",
    "deploy/systemd/install sha256sum sysctl systemctl systemd-tmpfiles",
  ].flatMap(names => names.split(" ")),
);

function isCommand(line: string): boolean {
  const [program = ""] = programsOf(line);
  return PROGRAMS.has(program);
}

function promptedBy(line: string): string | undefined {
  const [, command] = /^[$#] (.*)$/.exec(line) ?? [];
  return command !== undefined && isCommand(command) ? command : undefined;
}

function isCode(line: string | undefined): boolean {
  return line?.startsWith("    ") === true;
}
