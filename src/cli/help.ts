import * as v from "valibot";
import type { Command } from "./command.ts";
import { AGENT_FLAGS, type FlagTable, KLOG_FLAGS, noteOf } from "./flags.ts";

/** What `ipmasq --help` prints. */
export function overview(commands: readonly Command[]): string {
  return page([
    "ipmasq decides which connections leave this node with the node's address, and",
    "keeps the rules for it in the kernel.",
    "",
    "Usage: ipmasq [COMMAND] [FLAG...]",
    "",
    "Commands:",
    ...columns(commands.map(({ name, summary }) => [name, summary])),
    "",
    ...agentFlags(),
    "",
    'Each command has its own help: "ipmasq COMMAND --help".',
    "",
    "Example:",
    "  ipmasq run --config=/etc/config/ip-masq-agent --enable-ipv6",
  ]);
}

/** What `ipmasq COMMAND --help` prints. */
export function commandHelp({ name, words, description, flags, readsPolicy, examples }: Command): string {
  const own = Object.keys(flags).length > 0 ? ["", "Flags:", ...columns(rows(flags))] : [];
  return page([
    ...wrapped(description, 80),
    "",
    `Usage: ipmasq ${name}${words === undefined ? "" : ` ${words}`} [FLAG...]`,
    ...own,
    ...(readsPolicy ? ["", ...agentFlags()] : []),
    "",
    examples.length > 1 ? "Examples:" : "Example:",
    ...examples.map(example => `  ${example}`),
  ]);
}

function agentFlags(): string[] {
  return [
    "Flags of the agent:",
    ...columns(rows(AGENT_FLAGS)),
    "",
    ...wrapped("Each is an environment variable too: --enable-ipv6=true is IPMASQ_ENABLE_IPV6=true.", 80),
    ...wrapped(
      `klog's flags are accepted (${Object.keys(KLOG_FLAGS)
        .map(it => `--${it}`)
        .join(", ")}); of these only --v has an effect: 4 and above logs what --log-level=debug does.`,
      80,
    ),
  ];
}

function rows(flags: FlagTable): [string, string][] {
  return Object.entries(flags).map(([name, schema]) => {
    const { placeholder, help } = noteOf(schema);
    const otherwise = v.getDefault(schema);
    const note =
      otherwise === undefined || otherwise === "" || otherwise === "false" ? "" : ` (default ${otherwise})`;
    return [`--${name}${placeholder === undefined ? "" : ` ${placeholder}`}`, `${help}${note}`];
  });
}

/** Two columns in 80. What is too wide for the first stands alone on its line. */
function columns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.min(24, Math.max(...rows.map(([left]) => left.length)));
  return rows.flatMap(([left, right]) => {
    const [first = "", ...rest] = wrapped(right, 80 - width - 4);
    const margin = " ".repeat(width + 4);
    const beside =
      left.length <= width ? [`  ${left.padEnd(width)}  ${first}`] : [`  ${left}`, `${margin}${first}`];
    return [...beside, ...rest.map(line => `${margin}${line}`)];
  });
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function page(lines: readonly string[]): string {
  return `${lines.join("\n")}\n`;
}
