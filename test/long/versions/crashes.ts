import type { Lab } from "../../../lab/lab.ts";
import { renderText } from "../../../src/backends/nftables/nftables.ts";
import { policy } from "../../policies.ts";

/** A call of nft with its standard input. */
interface Call {
  readonly argv: readonly string[];
  readonly input?: string;
}

/** A call without input, from its command line. */
function typed(words: string): Call {
  return { argv: words.split(" ") };
}

function json(command: object, ...options: string[]): Call {
  const nftables = [{ metainfo: { json_schema_version: 1 } }, command];
  return { argv: [...options, "-j", "-f", "-"], input: JSON.stringify({ nftables }) };
}

const OURS = { family: "ip", table: "ip-masq-agent", chain: "IP-MASQ-AGENT" };
const RULE = { ...OURS, expr: [{ accept: null }] };
const ELEMENT = { family: "ip", table: "ip-masq-agent", name: "non-masquerade-a", elem: ["192.0.2.1"] };

/** The agent's calls of nft, by their name in the table. */
export const CALLS: Readonly<Record<string, Call>> = {
  "`--version`": typed("--version"),
  "`list tables`": typed("list tables"),
  "`list ruleset`": typed("list ruleset"),
  "`monitor`": typed("monitor"),
  "`list chains`": typed("-j list chains"),
  "`list table` of ipmasq's table": typed("-j list table ip ip-masq-agent"),
  "`list chain` of ipmasq's table": typed("-j list chain ip ip-masq-agent IP-MASQ-AGENT"),
  "`list table` of the other table": typed("-j list table ip other"),
  "`add rule`": json({ add: { rule: RULE } }),
  "`add rule`, with `--check`": json({ add: { rule: RULE } }, "--check"),
  "`add element`": json({ add: { element: ELEMENT } }),
  "`delete table`": json({ delete: { table: { family: "ip", name: "ip-masq-agent" } } }),
  "`add table`": json({ add: { table: { family: "ip", name: "third" } } }),
  "`flush chain`": json({ flush: { chain: { family: "ip", table: OURS.table, name: OURS.chain } } }),
  "`flush ruleset`": json({ flush: { ruleset: null } }),
};

/** Declarations of a set or map in another table. */
export const DECLARATIONS = {
  type: "set ip other s { type ipv4_addr; }",
  "map type": "map ip other s { type ipv4_addr : verdict; }",
  concatenation: "set ip other s { type ipv4_addr . inet_service; }",
  typeof: "set ip other s { typeof ip daddr; }",
} as const;

/** How long the monitor runs, in seconds. It reads the whole ruleset at start. */
const MONITOR = "0.5";

/** Returns the names of the calls that end by a signal after `writer` has written ipmasq's table and another one. */
export async function crashing(
  lab: Lab,
  writer: readonly string[],
  reader: readonly string[],
  declaration: keyof typeof DECLARATIONS,
): Promise<string[]> {
  const crashed: string[] = [];
  for (const [name, { argv, input = "" }] of Object.entries(CALLS)) {
    const before = [
      "flush ruleset",
      renderText(policy()),
      "add table ip other",
      `add ${DECLARATIONS[declaration]}`,
    ];
    await lab.node.output([...writer, "-f", "-"], { input: `${before.join("\n")}\n` });
    const limit = name === "`monitor`" ? ["timeout", MONITOR] : [];
    const child = lab.node.spawn([...limit, ...reader, ...argv], {
      stdin: new Blob([input]),
      stdout: "ignore",
      stderr: "ignore",
    });
    const exitCode = await child.exited;
    if (child.signalCode === "SIGSEGV" || exitCode === 139) crashed.push(name);
  }
  return crashed;
}
