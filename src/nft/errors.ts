import { type FailureKind, ProgramError } from "../system/program.ts";
import type { Command } from "./json.ts";

/** A run of nft that failed. */
export interface Failed {
  readonly argv: readonly string[];
  readonly exitCode: number;
  readonly stderr: string;
}

/** Whether nft says that the object it should list does not exist. */
export function isMissing({ exitCode, stderr }: Failed): boolean {
  return exitCode === 1 && stderr.includes("No such file or directory");
}

/** Whether the kernel says that the object to be created exists. */
export function isExisting({ exitCode, stderr }: Failed): boolean {
  return exitCode === 1 && stderr.includes("File exists");
}

/** The error for a failed run, with nft's own message. */
export function failure({ argv, exitCode, stderr }: Failed): ProgramError {
  const said = stderr
    .split("\n")
    .map(line => line.replace(/^internal:0:0-0: /, "").trim())
    .filter(line => line !== "");
  const all = [...new Set(said)].join(" ") || `exit code ${exitCode}`;
  const kind = KINDS.find(([pattern]) => pattern.test(all))?.[1] ?? "refused";
  // nft says it several times in different words.
  const what = kind === "not-permitted" ? "Operation not permitted" : all;
  return new ProgramError(kind, argv.join(" "), what, REMEDIES[kind] ?? "", exitCode);
}

/** The texts of strerror(3), which nft prints in the C locale. */
const KINDS: readonly (readonly [said: RegExp, kind: FailureKind])[] = [
  [/not permitted|Permission denied/, "not-permitted"],
  [/Message too long/, "too-large"],
  [/No such file|not supported|Protocol error|[Ff]amily not supported/, "unsupported"],
  [/resource busy/, "busy"],
  [/Cannot allocate memory|No buffer space|Too many open files/, "exhausted"],
];

const REMEDIES: { readonly [kind in FailureKind]?: string } = {
  crashed: "install nft 1.1.3 or later",
  "not-permitted": "run as root, or with the capability NET_ADMIN",
  unsupported: "the kernel may lack a module: check lsmod for nf_tables, nft_masq, nft_fib, nft_numgen",
};

/** The error with the remedy for its kind, if it has none. */
export function withNftRemedy({ kind, command, what, remedy, exitCode }: ProgramError): ProgramError {
  return new ProgramError(kind, command, what, remedy || (REMEDIES[kind] ?? ""), exitCode);
}

/** The error for output of nft that cannot be parsed. */
export function unexpectedOutput(argv: readonly string[], why: string, exitCode: number): ProgramError {
  const what = `printed unexpected output: ${why}`;
  return new ProgramError(
    "incompatible",
    argv.join(" "),
    what,
    "please report this with the version of nft",
    exitCode,
  );
}

/** The same error with the command that was refused. */
export function blaming(
  { kind, command, what, remedy, exitCode }: ProgramError,
  blamed?: Command,
): ProgramError {
  const at = blamed ? ` (at: ${commandText(blamed)})` : "";
  return new ProgramError(kind, command, what + at, remedy, exitCode);
}

/** A command in a few words, such as `add rule ip nat POSTROUTING "outbound traffic"`. */
function commandText(command: Command): string {
  const all: Readonly<Record<string, Readonly<Record<string, Named>>>> = command;
  const words = Object.entries(all).flatMap(([verb, objects]) =>
    Object.entries(objects).flatMap(([kind, object]) => [verb, kind, ...namesOf(object)]),
  );
  return words.join(" ");
}

interface Named {
  readonly family: string;
  readonly table?: string | undefined;
  readonly chain?: string | undefined;
  readonly name?: string | undefined;
  readonly comment?: string | undefined;
}

function namesOf({ family, table, chain, name, comment }: Named): string[] {
  const quoted = comment === undefined ? undefined : JSON.stringify(comment);
  return [family, table, chain, name, quoted].flatMap(it => it ?? []);
}
