import { networkInterfaces } from "node:os";
import { agentSocketPath } from "../agent/node-lock.ts";
import { everyBackend } from "../backends/choose.ts";
import { familyText } from "../backends/sync.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { headlineOf, isOverruled } from "../inspect/headline.ts";
import type { Status } from "../inspect/status.ts";
import type { View } from "../inspect/status-text.ts";
import { printableJson } from "../system/printable.ts";
import { ProgramError } from "../system/program.ts";
import { comparisonFor } from "./backend.ts";
import { colouredStatus, isColourful } from "./colour.ts";
import { type AgentFlags, command, type Outcome } from "./command.ts";
import { choice, toggle } from "./flag.ts";
import { loadOptions, policyHere } from "./policy.ts";
import { defaultsBecause } from "./subject.ts";
import { BUILD } from "./version.ts";
import { repeated, terminal } from "./watch.ts";

export const status = command({
  name: "status",
  summary: "show whether the policy is in force, with connections per CIDR",
  description:
    "Shows whether the policy is in force, which backend is used and why, the connections of each CIDR, recent problems, and foreign rules that conflict with the policy. Asks the active agent, through the socket in --runtime-dir or over HTTP at --listen, and compares its answer with the kernel. If no agent answers, compares the kernel with the config. Exits with 0 if the policy is in force, with 1 if it is not, and with 3 if it is in force but foreign rules overrule it.",
  flags: {
    output: choice(["text", "json"], "output format", "text"),
    watch: toggle("refresh every two seconds, with rates; on a terminal, q quits", "false"),
    all: toggle("show all CIDRs, conflicts and problems", "false"),
  },
  readsPolicy: true,
  examples: ["ipmasq status", "ipmasq status --output=json | jq .inSync", "ipmasq status --watch"],
  async run({ output, watch, all }, flags) {
    if (!watch) {
      const status = await readStatus(flags);
      return output === "json" ? jsonOf(status) : textOf(status, { all, room: await terminal() });
    }
    const { RateMeter } = await import("../inspect/rates.ts");
    const meter = new RateMeter();
    // An agent that has ended is not asked again, but its config is still compared with the kernel.
    let { config } = flags;
    return repeated("status", output, async room => {
      const status = await readStatus({ ...flags, config });
      if (status.from === "agent" && !flags.configGiven && status.config !== "") config = status.config;
      if (output === "json") return jsonOf(status);
      return textOf(status, { all, room, rates: meter.look(status, performance.now()) });
    });
  },
});

const OVERRULED = 3;

function exitCodeOf(status: Status): number {
  if (isOverruled(status)) return OVERRULED;
  return status.inSync ? 0 : 1;
}

function jsonOf(status: Status): Outcome {
  return { stdout: `${printableJson(JSON.stringify(status))}\n`, exitCode: exitCodeOf(status) };
}

async function textOf(status: Status, view: View): Promise<Outcome> {
  const { statusText } = await import("../inspect/status-text.ts");
  const text = `${statusText(status, view).join("\n")}\n`;
  const { level } = headlineOf(status);
  return {
    stdout: (await isColourful()) ? colouredStatus(text, level) : text,
    exitCode: exitCodeOf(status),
  };
}

/**
 * The agent's answer, compared with the kernel; without an agent, the status according to kernel and config. Asks
 * through the socket first, because only root can answer there.
 */
async function readStatus(flags: AgentFlags): Promise<Status> {
  const { askOverHttp, askOverSocket } = await import("../inspect/ask-agent.ts");
  const { formatListen } = await import("../net/listen.ts");
  const { listen } = flags;
  let name = agentSocketPath(flags["runtime-dir"]);
  let answer = await askOverSocket(name);
  if (answer === "unreachable" && listen !== "nowhere") {
    name = formatListen(listen);
    answer = await askOverHttp(listen);
  }
  if (answer === "unreachable") return statusFromKernel(flags);
  if (!(answer instanceof Error))
    return checkedAgainstKernel(answer, answer.policy?.chain ?? flags["masq-chain"]);
  const status = await statusFromKernel(flags);
  const useless = `${name} answers, but ${answer.message}; check whether it is another program or an agent that hangs`;
  return { ...status, problems: [useless, ...status.problems] };
}

/** The answer, checked against the rules of the backend that it names. */
async function checkedAgainstKernel(answer: Status, chain: string): Promise<Status> {
  const { checkedAgainst } = await import("../inspect/kernel-view.ts");
  try {
    const backends = await everyBackend(chain);
    const backend = backends.find(it => it.name === answer.backend && it.writer === answer.writer);
    if (!backend)
      return checkedAgainst({ unreadable: `${answer.writer ?? "its writer"} is not available here` }, answer);
    return checkedAgainst({ actual: await backend.actual(answer.policy?.families) }, answer);
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    return checkedAgainst({ unreadable: error.message }, answer);
  }
}

const NO_RULES = "the kernel has no rules of ipmasq; write them with ipmasq run";
const DIFFERENT = "the rules in the kernel differ from the config; run ipmasq diff";

/** The status according to kernel and config. Failed reads are listed as problems. */
async function statusFromKernel(flags: AgentFlags): Promise<Status> {
  const { policyStatus, unreadText } = await import("../inspect/status.ts");
  const { findConflicts } = await import("../conflicts/find.ts");
  const { readConntrack } = await import("../inspect/conntrack.ts");
  const loaded = await loadConfig(flags.config, loadOptions(flags, ""));
  const conntrack = await readConntrack();
  const common = {
    from: "kernel" as const,
    version: BUILD.version,
    config: flags.config,
    ...(conntrack && { conntrack }),
  };
  const { podProblems } = await import("../inspect/pods.ts");
  const unknown = { cidrs: [], outbound: [], conflicts: [], inSync: false };
  if (!loaded.ok)
    return { ...common, ...unknown, why: "the config has errors", problems: formatProblems(loaded.problems) };
  const policy = await policyHere(loaded.config, flags);
  const problems = [...formatProblems(loaded.problems), ...podProblems(policy, networkInterfaces())];
  try {
    const { backend, reason, comparison, failures } = await comparisonFor(flags, policy);
    const { counters } = comparison;
    const inSync = comparison.inSync && failures.length === 0;
    problems.push(...failures.map(familyText), ...backend.limits);
    const { ownServicesNote } = await import("../inspect/own-services.ts");
    const { otherBackendNotes } = await import("../inspect/other-backends.ts");
    const note = await ownServicesNote(policy);
    const defaults = defaultsBecause(flags.config);
    const others = await otherBackendNotes(backend.backend, policy);
    const notes = [
      ...others,
      ...(note === undefined ? [] : [note]),
      ...(comparison.caution === undefined ? [] : [comparison.caution]),
      ...(defaults === undefined ? [] : [`judged by ${defaults}`]),
    ];
    const isEmpty = comparison.actual.length + failures.length + others.length === 0;
    const { conflicts, unread } = await findConflicts(policy, backend.name);
    return {
      ...common,
      backend: backend.name,
      writer: backend.writer,
      reason,
      inSync,
      ...(inSync ? {} : { why: isEmpty ? NO_RULES : DIFFERENT }),
      ...policyStatus(policy, counters),
      conflicts: [...conflicts],
      ...(unread.length > 0 && { unread: [...unread] }),
      ...(notes.length > 0 && { notes }),
      problems: [...problems, ...unread.map(unreadText)],
    };
  } catch (error) {
    if (!(error instanceof ProgramError)) throw error;
    return { ...common, ...unknown, ...policyStatus(policy, []), why: error.message, problems };
  }
}
