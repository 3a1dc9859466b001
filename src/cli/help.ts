import type { Command } from "./command.ts";
import { type FlagTable, helpOf, noteOf } from "./flag.ts";
import { AGENT_FLAGS, IGNORED_FLAGS, shortOf } from "./flags.ts";

const WIDTH = 80;

/** The text of `ipmasq --help`. */
export function overview(commands: readonly Command[]): string {
  return page([
    wrapped(
      "ipmasq decides, per destination, whether traffic leaving a Linux node is masqueraded or keeps the Pod's address.",
    ),
    "",
    "Usage: ipmasq COMMAND [FLAG...]",
    "",
    "Commands:",
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    "",
    "Help:",
    ...columns([
      ["ipmasq COMMAND --help", "a command and its flags"],
      ["ipmasq help flags", "the flags of the agent, which all commands accept"],
      ["ipmasq --version", "the version"],
    ]),
    "",
    "Example:",
    "  ipmasq explain 203.0.113.7",
  ]);
}

/** The text of `ipmasq COMMAND --help`. */
export function commandHelp({
  name,
  placeholder,
  description,
  flags,
  readsPolicy,
  examples,
}: Command): string {
  const isAgent = name === "run";
  const { config } = AGENT_FLAGS;
  const own = rows({ ...flags, ...(readsPolicy && !isAgent ? { config } : {}) });
  return page([
    wrapped(description),
    "",
    `Usage: ipmasq ${name}${placeholder === undefined ? "" : ` ${placeholder}`} [FLAG...]`,
    ...(own.length > 0 ? ["", "Flags:", ...columns(own)] : []),
    ...(isAgent ? ["", ...agentFlags()] : []),
    ...(readsPolicy && !isAgent ? ["", wrapped(SAME_FLAGS)] : []),
    "",
    examples.length > 1 ? "Examples:" : "Example:",
    ...examples.map(example => `  ${example}`),
  ]);
}

const SAME_FLAGS =
  'If the agent runs with flags that differ from the defaults, pass the same flags: see "ipmasq help flags".';

/** The text of `ipmasq help flags`. */
export function flagsHelp(): string {
  return page([
    wrapped("The agent and every other command accept these flags, before or after the command."),
    "",
    ...agentFlags(),
    "",
    "Example:",
    "  ipmasq run --config=/etc/config/ip-masq-agent --enable-ipv6",
  ]);
}

function agentFlags(): string[] {
  return [
    "Flags of the agent:",
    ...columns(rows(AGENT_FLAGS)),
    "",
    wrapped(
      "Each of these flags is also an environment variable: IPMASQ_ENABLE_IPV6=true sets --enable-ipv6=true.",
    ),
    "",
    wrapped(
      `For compatibility with klog, --v=4 and higher set --log-level=debug, and these flags are ignored: ${IGNORED_FLAGS.map(it => `--${it}`).join(", ")}.`,
    ),
  ];
}

function rows(flags: FlagTable): [string, string][] {
  return Object.entries(flags).map(([name, schema]) => {
    const { placeholder } = noteOf(schema);
    const short = shortOf(name);
    const names = `${short === undefined ? "" : `-${short}, `}--${name}`;
    return [`${names}${placeholder === undefined ? "" : ` ${placeholder}`}`, helpOf(schema)];
  });
}

/** Two columns. A left cell that is too wide gets its own line. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(24, Math.max(...rows.map(([left]) => left.length)));
  const margin = " ".repeat(width + 4);
  return rows.map(([left, right]) => {
    const first = left.length <= width ? `  ${left.padEnd(width)}  ` : `  ${left}\n${margin}`;
    return first + wrapped(right, WIDTH - margin.length).replaceAll("\n", `\n${margin}`);
  });
}

function wrapped(text: string, width = WIDTH): string {
  return Bun.wrapAnsi(text, width);
}

function page(lines: readonly string[]): string {
  return `${lines.join("\n")}\n`;
}
