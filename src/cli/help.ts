import * as v from "valibot";
import type { Command } from "./command.ts";
import { type FlagTable, noteOf } from "./flag.ts";
import { AGENT_FLAGS, KLOG_FLAGS } from "./flags.ts";

const WIDTH = 80;

/** The text of `ipmasq --help`. */
export function overview(commands: readonly Command[]): string {
  return page([
    wrapped(
      "ipmasq decides, per destination, whether traffic leaving a Linux node is masqueraded or keeps the Pod's address.",
    ),
    "",
    "Usage: ipmasq [COMMAND] [FLAG...]",
    "",
    "Commands:",
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    "",
    ...agentFlags(),
    "",
    'For the flags of a command, run "ipmasq COMMAND --help".',
    "",
    "Example:",
    "  ipmasq run --config=/etc/config/ip-masq-agent --enable-ipv6",
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
  const own = Object.keys(flags).length > 0 ? ["", "Flags:", ...columns(rows(flags))] : [];
  return page([
    wrapped(description),
    "",
    `Usage: ipmasq ${name}${placeholder === undefined ? "" : ` ${placeholder}`} [FLAG...]`,
    ...own,
    ...(readsPolicy ? ["", ...agentFlags()] : []),
    "",
    examples.length > 1 ? "Examples:" : "Example:",
    ...examples.map(example => `  ${example}`),
  ]);
}

function agentFlags(): string[] {
  const ignored = Object.keys(KLOG_FLAGS).filter(it => it !== "v");
  return [
    "Flags of the agent:",
    ...columns(rows(AGENT_FLAGS)),
    "",
    wrapped(
      "Each of these flags is also an environment variable: IPMASQ_ENABLE_IPV6=true sets --enable-ipv6=true.",
    ),
    "",
    wrapped(
      `For compatibility with klog, --v=4 and higher set --log-level=debug, and these flags are ignored: ${ignored.map(it => `--${it}`).join(", ")}.`,
    ),
  ];
}

function rows(flags: FlagTable): [string, string][] {
  return Object.entries(flags).map(([name, schema]) => {
    const { placeholder, help } = noteOf(schema);
    const defaultText = v.getDefault(schema);
    const note =
      defaultText === undefined || defaultText === "" || defaultText === "false"
        ? ""
        : ` (default ${defaultText})`;
    return [`--${name}${placeholder === undefined ? "" : ` ${placeholder}`}`, `${help}${note}`];
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
