import type { Backend } from "../backends/backend.ts";
import type { Room } from "../inspect/columns.ts";
import type { InformedJudge } from "../inspect/live-connections.ts";
import type { Policy } from "../policy/policy.ts";
import { toStandardOutput } from "../system/output.ts";
import { printableJson } from "../system/printable.ts";
import { ProgramError } from "../system/program.ts";
import { UsageError } from "./args.ts";
import { backendFor } from "./backend.ts";
import { type AgentFlags, command, type Outcome } from "./command.ts";
import { choice, toggle } from "./flag.ts";
import { configFlags } from "./policy.ts";
import { notesOf, type Subject, subjectOf } from "./subject.ts";
import { repeated, terminal } from "./watch.ts";

/** The maximum number of destinations that `--ports` prints. */
const MOST_DESTINATIONS = 20;

export const connections = command({
  name: "connections",
  summary: "show live connections, and those that contradict the policy",
  description:
    "Shows the node's live connections by destination CIDR: how many keep their address, how many are masqueraded, and how many contradict the policy in force, because they began before it. Reads the kernel's conntrack table, and the policy from the active agent through the socket in --runtime-dir; without an agent or with --config, from the config. With --stale, lists the connections that contradict the policy. With --forget-stale, deletes their conntrack entries, so that their next packet is judged again: TCP connections break, because the peer sees another address. With --ports, shows how many source ports the busiest destinations use. Needs root, or the capability NET_ADMIN.",
  flags: {
    stale: toggle("list the connections that contradict the policy, and why", "false"),
    "forget-stale": toggle("delete the conntrack entries of these connections", "false"),
    "dry-run": toggle("with --forget-stale: only count them", "false"),
    ports: toggle("show the destinations that use the most source ports of the node", "false"),
    watch: toggle("refresh every two seconds", "false"),
    output: choice(
      ["text", "json"],
      "output format; with --stale and --ports, json prints one object per line",
      "text",
    ),
    ...configFlags,
  },
  readsPolicy: "agent",
  examples: [
    "ipmasq connections",
    "ipmasq connections --stale",
    "ipmasq connections --forget-stale --dry-run",
    "ipmasq connections --ports --watch",
  ],
  async run({ stale, "forget-stale": forget, "dry-run": dryRun, ports, watch, output, configmap }, flags) {
    if ([stale, forget, ports].filter(Boolean).length > 1)
      throw new UsageError("--stale, --forget-stale and --ports exclude each other", "use one of them");
    if (dryRun && !forget) throw new UsageError("--dry-run needs --forget-stale", "add --forget-stale");
    if (watch && (stale || forget))
      throw new UsageError("--watch does not work with --stale and --forget-stale", "remove --watch");
    const show = async (room?: Room): Promise<Outcome> => {
      const subject = await subjectOf(flags, configmap);
      const { policy, policyFrom, source, stderr } = subject;
      const isTable = !stale && !forget && !ports; // shows the source of the policy
      const notes = isTable ? subject.notes : notesOf(subject, flags);
      if (!policy) return { stderr, notes, exitCode: 1 };
      const { judgeWithConflicts } = await import("../inspect/live-connections.ts");
      const backend = subject.backend ?? (await backendName(flags, policy));
      const informed = await judgeWithConflicts(policy, backend);
      const look: Look = { policy, policyFrom, judgedBy: source, stderr, notes, output, ...informed };
      if (stale) return listStale(look);
      if (forget) return forgetStale(look, dryRun);
      return ports ? showPorts(look) : showAll(look, room);
    };
    return watch ? repeated("connections", output, show) : show(await terminal());
  },
});

/** The policy to judge by, its judge, and the foreign rules that the judge does not know. */
interface Look extends InformedJudge {
  readonly policy: Policy;
  readonly policyFrom: Subject["policyFrom"];
  readonly judgedBy: Subject["source"];
  readonly stderr: string;
  readonly notes: readonly string[];
  readonly output: "text" | "json";
}

async function backendName(flags: AgentFlags, policy: Policy): Promise<Backend["name"] | undefined> {
  try {
    return (await backendFor(flags, policy)).backend.name;
  } catch (error) {
    if (error instanceof ProgramError) return undefined;
    throw error;
  }
}

async function showAll(
  { policy, judge, unread, policyFrom, judgedBy, output, stderr, notes }: Look,
  room?: Room,
): Promise<Outcome> {
  const { ConnectionTally } = await import("../inspect/connections.ts");
  const { eachConnection } = await import("../inspect/live-connections.ts");
  const { readConntrack } = await import("../inspect/conntrack.ts");
  const tally = new ConnectionTally(judge);
  await eachConnection(policy, judge, (entry, judgement) => tally.add(entry, judgement));
  const conntrack = await readConntrack();
  const table = conntrack && { entries: conntrack.entries, limit: conntrack.limit };
  const all = {
    policyFrom,
    judgedBy,
    ...(table && { table }),
    ...tally.counts,
    ...(unread.length > 0 && { unread: [...unread] }),
  };
  const { connectionsText } = await import("../inspect/connections-text.ts");
  const lines = output === "json" ? [json(all)] : connectionsText(all, room);
  return { stdout: linesOf(lines), stderr, notes, exitCode: 0 };
}

async function showPorts({ policy, judge, output, stderr, notes }: Look): Promise<Outcome> {
  const { PortTally } = await import("../inspect/port-use.ts");
  const { eachConnection } = await import("../inspect/live-connections.ts");
  const tally = new PortTally(policy.toPorts);
  await eachConnection(policy, judge, (entry, judgement) => tally.add(entry, judgement));
  const busiest = tally.busiest(MOST_DESTINATIONS);
  const { portsText } = await import("../inspect/connections-text.ts");
  const lines = output === "json" ? busiest.map(json) : portsText(busiest);
  return { stdout: linesOf(lines), stderr, notes, exitCode: 0 };
}

/** Prints the connections while it reads the table, because there may be many. */
async function listStale({ policy, judge, unread, output, stderr, notes }: Look): Promise<Outcome> {
  const { staleConnection } = await import("../inspect/connections.ts");
  const { NONE_STALE, overruledText, staleText, unreadText } = await import("../inspect/connections-text.ts");
  const { eachStale } = await import("../inspect/live-connections.ts");
  const isCertain = unread.length === 0;
  let text = "";
  let isRead = true;
  let isNone = true;
  const overruled = await eachStale(policy, judge, entry => {
    const it = isRead ? staleConnection(entry, judge, isCertain) : undefined;
    if (!it) return;
    isNone = false;
    text += `${output === "json" ? json(it) : staleText(it)}\n`;
    if (text.length < PIECE) return;
    isRead = toStandardOutput(text);
    text = "";
  });
  if (isNone && output === "text") text = `${NONE_STALE}\n`;
  const more = [unreadText(unread), overruledText(overruled)].filter(it => it !== "");
  return { stdout: text, stderr, notes: [...notes, ...more], exitCode: 0 };
}

/** Characters that are printed at a time. */
const PIECE = 64 * 1024;

async function forgetStale(look: Look, dryRun: boolean): Promise<Outcome> {
  const { policy, judge, unread, output, stderr, notes } = look;
  const { forgottenText, overruledText, unreadText } = await import("../inspect/connections-text.ts");
  if (unread.length > 0)
    return { stderr, notes: [...notes, `nothing was deleted: ${unreadText(unread)}`], exitCode: 1 };
  const { columnOf } = await import("../inspect/connections.ts");
  const { EntryDeleter } = await import("../conntrack/delete.ts");
  const { eachStale } = await import("../inspect/live-connections.ts");
  const counts = { tcp: 0, udp: 0, other: 0 };
  let ended = 0;
  using deleter = dryRun ? undefined : await EntryDeleter.open();
  const overruled = await eachStale(policy, judge, entry => {
    if (deleter && !deleter.delete(entry)) ended++;
    else counts[columnOf(entry.protocol)]++;
  });
  const forgotten = { dryRun, ...counts, ended };
  const lines = output === "json" ? [json(forgotten)] : forgottenText(forgotten);
  const more = [overruledText(overruled)].filter(it => it !== "");
  return { stdout: linesOf(lines), stderr, notes: [...notes, ...more], exitCode: 0 };
}

function json(value: unknown): string {
  return printableJson(JSON.stringify(value));
}

function linesOf(lines: readonly string[]): string {
  return lines.map(line => `${line}\n`).join("");
}
