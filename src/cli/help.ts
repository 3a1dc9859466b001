import type { Command } from "./command.ts";
import { type FlagTable, helpOf, noteOf } from "./flag.ts";
import { AGENT_FLAGS, IGNORED_FLAGS, shortOf } from "./flags.ts";

/** Characters in a line, unless the terminal is narrower. */
const WIDTH = 80;

/** The text of `ipmasq --help`. */
export function overview(commands: readonly Command[], room = WIDTH): string {
  const { columns, wrapped } = layout(room);
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
export function commandHelp(command: Command, room = WIDTH): string {
  const { name, placeholder, description, flags, readsPolicy, examples } = command;
  const { columns, wrapped } = layout(room);
  const isAgent = name === "run";
  const { config } = AGENT_FLAGS;
  const own = rows({ ...flags, ...(readsPolicy && !isAgent ? { config } : {}) });
  return page([
    wrapped(description),
    "",
    `Usage: ipmasq ${name}${placeholder === undefined ? "" : ` ${placeholder}`} [FLAG...]`,
    ...(own.length > 0 ? ["", "Flags:", ...columns(own)] : []),
    ...(isAgent ? ["", ...agentFlags(room)] : []),
    ...(readsPolicy && !isAgent ? ["", wrapped(readsPolicy === "agent" ? AGENT_POLICY : SAME_FLAGS)] : []),
    "",
    examples.length > 1 ? "Examples:" : "Example:",
    ...examples.map(example => `  ${example}`),
  ]);
}

const SAME_FLAGS =
  'If the agent runs with flags that differ from the defaults, pass the same flags: see "ipmasq help flags".';

const AGENT_POLICY =
  'Without --config, judges by the policy of the active agent. With it, pass the flags that the agent runs with: see "ipmasq help flags".';

/** The text of `ipmasq help flags`. */
export function flagsHelp(room = WIDTH): string {
  const { wrapped } = layout(room);
  return page([
    wrapped("The agent and every other command accept these flags, before or after the command."),
    "",
    ...agentFlags(room),
    "",
    "Example:",
    "  ipmasq run --config=/etc/config/ip-masq-agent --enable-ipv6",
  ]);
}

function agentFlags(room: number): string[] {
  const { columns, wrapped } = layout(room);
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

/** Two columns, and text, in the width of the terminal. A left cell that is too wide gets its own line. */
function layout(room: number): {
  columns(rows: readonly (readonly [string, string])[]): string[];
  wrapped(text: string, width?: number): string;
} {
  const all = Math.min(WIDTH, room);
  const wrapped = (text: string, width = all) => Bun.wrapAnsi(text, width);
  return {
    wrapped,
    columns(rows) {
      const width = Math.min(24, all / 2, Math.max(...rows.map(([left]) => left.length)));
      const margin = " ".repeat(width + 4);
      return rows.map(([left, right]) => {
        const first = left.length <= width ? `  ${left.padEnd(width)}  ` : `  ${left}\n${margin}`;
        return first + wrapped(right, all - margin.length).replaceAll("\n", `\n${margin}`);
      });
    },
  };
}

function page(lines: readonly string[]): string {
  return `${lines.join("\n")}\n`;
}
