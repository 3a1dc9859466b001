/** docs/ipmasq.8, the man page, from the commands and flags in the code. The macros are those of man(7). */
import { version } from "../package.json";
import type { Command } from "../src/cli/command.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { type FlagTable, helpOf, noteOf } from "../src/cli/flag.ts";
import { AGENT_FLAGS, IGNORED_FLAGS, shortOf, variableOf } from "../src/cli/flags.ts";

const EXIT_CODES: readonly (readonly [code: string, meaning: string])[] = [
  ["0", "Success. For `diff` and `verify`: no difference."],
  [
    "1",
    "Failure, or what the command looks for: a difference, an unexpected verdict, a config with errors, rules that are not in force.",
  ],
  ["2", "`diff`, `verify` or `test` cannot tell."],
  ["64", "Wrong usage."],
  ["70", "An internal error."],
  ["74", "Output cannot be written."],
];

export function manPage(): string {
  return `${[
    '.\\" Generated from the code by npm run docs.',
    `.TH IPMASQ 8 "" "ipmasq ${version}"`,
    ".SH NAME",
    escaped("ipmasq - decide which connections leave a node with its address"),
    ".SH SYNOPSIS",
    "\\fBipmasq\\fR \\fICOMMAND\\fR [\\fIFLAG\\fR...]",
    ".SH DESCRIPTION",
    escaped(
      "ipmasq keeps rules in the kernel, in nftables or iptables, that decide per destination whether a connection leaves the node with the node's address (masquerade) or keeps the Pod's own. It reads the config of ip-masq-agent. Without a command, it is the agent, as with run; on a terminal it prints an overview instead.",
    ),
    ".SH COMMANDS",
    ...COMMANDS.flatMap(commandSection),
    ".SH FLAGS",
    "All commands accept these flags of the agent, before or after the command.",
    ...flagLines(AGENT_FLAGS),
    ".PP",
    escaped(
      "For compatibility with klog, -v 4 and higher set --log-level=debug, and these flags are ignored:",
    ),
    escaped(`${IGNORED_FLAGS.map(it => `--${it}`).join(", ")}.`),
    ".SH ENVIRONMENT",
    ...Object.keys(AGENT_FLAGS).flatMap(name => [
      ".TP",
      `\\fB${escaped(variableOf(name))}\\fR`,
      escaped(`Sets --${name}.`),
    ]),
    ".SH FILES",
    ...paragraph("/etc/config/ip-masq-agent", "The config, a file or a directory."),
    ...paragraph("/run/ipmasq", "The node lock and the agent's socket."),
    ".SH EXIT STATUS",
    ...EXIT_CODES.flatMap(([code, meaning]) => paragraph(code, meaning)),
    ".SH SEE ALSO",
    "\\fBnft\\fR(8), \\fBiptables\\fR(8)",
  ].join("\n")}\n`;
}

function commandSection({ name, placeholder, description, flags, examples }: Command): string[] {
  const usage = [
    `\\fB${name}\\fR`,
    ...(placeholder === undefined ? [] : [`\\fI${escaped(placeholder)}\\fR`]),
  ];
  return [
    `.SS ${usage.join(" ")}`,
    escaped(description),
    ...flagLines(flags),
    ".PP",
    examples.length > 1 ? "Examples:" : "Example:",
    ".PP",
    ".RS 4",
    ".nf",
    ...examples.map(escaped),
    ".fi",
    ".RE",
  ];
}

function flagLines(flags: FlagTable): string[] {
  return Object.entries(flags).flatMap(([name, schema]) => {
    const { placeholder } = noteOf(schema);
    const short = shortOf(name);
    const value = placeholder === undefined ? "" : ` \\fI${escaped(placeholder)}\\fR`;
    const letter = short === undefined ? "" : `\\fB\\-${short}\\fR, `;
    return [".TP", `${letter}\\fB${escaped(`--${name}`)}\\fR${value}`, escaped(helpOf(schema))];
  });
}

function paragraph(term: string, text: string): string[] {
  return [".TP", `\\fB${escaped(term)}\\fR`, escaped(text)];
}

/** Text without roff's special characters. A dash is a hyphen-minus, so that flags can be copied. */
function escaped(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("`", "")
    .replaceAll(/^([.'])/gm, "\\&$1");
}
