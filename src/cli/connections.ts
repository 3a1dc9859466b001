import { agentSocketPath } from "../agent/node-lock.ts";
import type { Backend } from "../backends/backend.ts";
import type { ConnectionJudge } from "../inspect/connection-judge.ts";
import type { Policy } from "../policy/policy.ts";
import { toStandardOutput } from "../system/output.ts";
import { printableJson } from "../system/printable.ts";
import { ProgramError } from "../system/program.ts";
import { UsageError } from "./args.ts";
import { backendFor } from "./backend.ts";
import { type AgentFlags, command, type Outcome } from "./command.ts";
import { choice, toggle } from "./flag.ts";
import { configFlags, readPolicy } from "./policy.ts";
import { buildText } from "./version.ts";
import { repeated } from "./watch.ts";

/** The maximum number of destinations that `--ports` prints. */
const MOST_DESTINATIONS = 20;

export const connections = command({
  name: "connections",
  summary: "show live connections, and those that contradict the policy",
  description:
    "Shows the node's live connections by destination CIDR: how many keep their address, how many are masqueraded, and how many contradict the policy in force, because they began before it. Reads the kernel's conntrack table, and the policy from the active agent through the socket in --runtime-dir; without an agent, from the config. With --stale, lists the connections that contradict the policy. With --forget-stale, deletes their conntrack entries, so that their next packet is judged again: TCP connections break, because the peer sees another address. With --ports, shows how many source ports the busiest destinations use. Needs root, or the capability NET_ADMIN.",
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
  readsPolicy: true,
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
    const show = async (): Promise<Outcome> => {
      const subject = await subjectOf(flags, configmap);
      if (!("policy" in subject)) return subject;
      const look = { ...subject, output };
      if (stale) return listStale(look);
      if (forget) return forgetStale(look, dryRun);
      return ports ? showPorts(look) : showAll(look);
    };
    return watch ? repeated(output, show) : show();
  },
});

/** The policy to judge by, and its judge. */
interface Subject {
  readonly policy: Policy;
  readonly judge: ConnectionJudge;
  readonly policyFrom: "agent" | "config";
  readonly stderr: string;
  readonly notes: readonly string[];
}

interface Look extends Subject {
  readonly output: "text" | "json";
}

/** The policy of the active agent or, without an agent, of the config; an outcome if there is neither. */
async function subjectOf(flags: AgentFlags, configmap: string): Promise<Subject | Outcome> {
  const { judgeWithConflicts } = await import("../inspect/live-connections.ts");
  const { askPolicy } = await import("../inspect/ask-agent.ts");
  const answer = await askPolicy(agentSocketPath(flags["runtime-dir"]));
  const isAnswer = answer !== "unreachable" && !(answer instanceof Error);
  if (isAnswer && answer.build === buildText()) {
    const { policy, backend } = answer;
    if (!policy) return { notes: ["the active agent has no valid config yet"], exitCode: 1 };
    const judge = await judgeWithConflicts(policy, backend);
    return { policy, judge, policyFrom: "agent", stderr: "", notes: [] };
  }
  const { policy, stderr } = await readPolicy(flags, configmap);
  if (!policy) return { stderr, exitCode: 1 };
  const reason = isAnswer ? `it is another build (${answer.build})` : answer;
  const notes =
    answer === "unreachable" ? [] : [`the active agent is not asked, because ${messageOfAnswer(reason)}`];
  const judge = await judgeWithConflicts(policy, await backendName(flags, policy));
  return { policy, judge, policyFrom: "config", stderr, notes };
}

function messageOfAnswer(answer: string | Error): string {
  return typeof answer === "string" ? answer : answer.message;
}

async function backendName(flags: AgentFlags, policy: Policy): Promise<Backend["name"] | undefined> {
  try {
    return (await backendFor(flags, policy)).backend.name;
  } catch (error) {
    if (error instanceof ProgramError) return undefined;
    throw error;
  }
}

async function showAll({ policy, judge, policyFrom, output, stderr, notes }: Look): Promise<Outcome> {
  const { ConnectionTally } = await import("../inspect/connections.ts");
  const { eachConnection } = await import("../inspect/live-connections.ts");
  const { readConntrack } = await import("../inspect/conntrack.ts");
  const tally = new ConnectionTally(judge);
  await eachConnection(policy, judge, (entry, judgement) => tally.add(entry, judgement));
  const conntrack = await readConntrack();
  const table = conntrack && { entries: conntrack.entries, limit: conntrack.limit };
  const all = { policyFrom, ...(table && { table }), ...tally.counts };
  const { connectionsText } = await import("../inspect/connections-text.ts");
  const lines = output === "json" ? [json(all)] : connectionsText(all);
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
async function listStale({ policy, judge, output, stderr, notes }: Look): Promise<Outcome> {
  const { staleConnection } = await import("../inspect/connections.ts");
  const { staleText } = await import("../inspect/connections-text.ts");
  const { eachStale } = await import("../inspect/live-connections.ts");
  let text = "";
  let isRead = true;
  await eachStale(policy, judge, entry => {
    const it = isRead ? staleConnection(entry, judge) : undefined;
    if (!it) return;
    text += `${output === "json" ? json(it) : staleText(it)}\n`;
    if (text.length < PIECE) return;
    isRead = toStandardOutput(text);
    text = "";
  });
  return { stdout: text, stderr, notes, exitCode: 0 };
}

/** Characters that are printed at a time. */
const PIECE = 64 * 1024;

async function forgetStale(look: Look, dryRun: boolean): Promise<Outcome> {
  const { policy, judge, output, stderr, notes } = look;
  const { columnOf } = await import("../inspect/connections.ts");
  const { EntryDeleter } = await import("../conntrack/delete.ts");
  const { eachStale } = await import("../inspect/live-connections.ts");
  const { forgottenText } = await import("../inspect/connections-text.ts");
  const counts = { tcp: 0, udp: 0, other: 0 };
  let ended = 0;
  using deleter = dryRun ? undefined : await EntryDeleter.open();
  await eachStale(policy, judge, entry => {
    if (deleter && !deleter.delete(entry)) ended++;
    else counts[columnOf(entry.protocol)]++;
  });
  const forgotten = { dryRun, ...counts, ended };
  const lines = output === "json" ? [json(forgotten)] : forgottenText(forgotten);
  return { stdout: linesOf(lines), stderr, notes, exitCode: 0 };
}

function json(value: unknown): string {
  return printableJson(JSON.stringify(value));
}

function linesOf(lines: readonly string[]): string {
  return lines.map(line => `${line}\n`).join("");
}
