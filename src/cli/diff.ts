import { requestedBackend } from "../backends/backends.ts";
import { familyText } from "../backends/sync.ts";
import type { Policy } from "../policy/policy.ts";
import { printable, printableLines } from "../system/printable.ts";
import { ProgramError } from "../system/program.ts";
import { UsageError } from "./args.ts";
import { comparisonFor } from "./backend.ts";
import { colouredDiff, isColourful } from "./colour.ts";
import { type AgentFlags, command, type Outcome } from "./command.ts";
import { text, toggle } from "./flag.ts";
import { configFlags, readPolicy } from "./policy.ts";
import { notesOf, subjectOf } from "./subject.ts";

/** Exit codes, as in diff(1). */
const SAME = 0;
const DIFFERENT = 1;
const TROUBLE = 2;

export const diff = command({
  name: "diff",
  summary: "show what a sync would change in the kernel",
  description:
    "Shows what a sync would change in the kernel, as a unified diff of rules, without writing anything. The rules are those of the active agent's policy or, without an agent or with --config, of the config. With --from and --to, compares two configs without a kernel, and lists the connections whose verdict changes; --live adds how many of the node's live connections these are. Exits with 0 if nothing differs, with 1 if something differs, and with 2 if the comparison fails.",
  flags: {
    from: text("PATH", "old config, to compare with --to", ""),
    to: text("PATH", "new config, to compare with --from", ""),
    live: toggle(
      "with --from and --to: count the node's live connections that each change concerns",
      "false",
    ),
    ...configFlags,
  },
  readsPolicy: "agent",
  examples: [
    "ipmasq diff",
    "ipmasq diff --from=old.yaml --to=new.yaml",
    "ipmasq diff --from=old.yaml --to=new.yaml --live",
  ],
  async run({ from, to, live, configmap }, flags) {
    if ((from === "") !== (to === ""))
      throw new UsageError("--from and --to must be used together", "write both or neither");
    if (live && from === "") throw new UsageError("--live needs --from and --to", "add both");
    try {
      return from === ""
        ? await withKernel(flags, configmap)
        : await ofConfigs(flags, configmap, { from, to, live });
    } catch (error) {
      if (error instanceof ProgramError) return { notes: [error.message], exitCode: TROUBLE };
      throw error;
    }
  },
});

async function withKernel(flags: AgentFlags, configmap: string): Promise<Outcome> {
  const subject = await subjectOf(flags, configmap);
  const { policy, stderr } = subject;
  if (!policy) return { stderr, notes: notesOf(subject, flags), exitCode: TROUBLE };
  const { backend, comparison, failures } = await comparisonFor(flags, policy);
  const { actual, desired } = comparison;
  const { lines, failures: unread } = await backend.leftovers(policy);
  const { unified } = await import("../inspect/unified.ts");
  const { otherBackendNotes } = await import("../inspect/other-backends.ts");
  const others = lines.length > 0 ? await otherBackendNotes(backend.backend, policy) : [];
  const diff = await shown(unified(["kernel", "config"], [...actual, ...lines], desired));
  return {
    ...diff,
    stderr,
    notes: [...notesOf(subject, flags), ...failures.map(familyText), ...unread, ...others],
    exitCode: failures.length > 0 ? TROUBLE : diff.exitCode,
  };
}

interface Compared {
  readonly from: string;
  readonly to: string;
  /** Whether to count live connections. */
  readonly live: boolean;
}

async function ofConfigs(
  flags: AgentFlags,
  configmap: string,
  { from, to, live }: Compared,
): Promise<Outcome> {
  const [before, after] = [await readPolicy(flags, configmap, from), await readPolicy(flags, configmap, to)];
  const stderr = before.stderr + after.stderr;
  if (!before.policy || !after.policy) return { stderr, exitCode: TROUBLE };
  const { unified } = await import("../inspect/unified.ts");
  const { settingChanges, verdictDiff } = await import("../inspect/verdict-diff.ts");
  const { verdictDiffText } = await import("../inspect/verdict-diff-text.ts");
  const rules = rulesFor(flags.backend);
  const patch = unified([from, to], rules(before.policy), rules(after.policy));
  const changes = verdictDiff(before.policy, after.policy);
  const policies = [before.policy, after.policy] as const;
  const counts = live
    ? await (await import("../inspect/live-changes.ts")).liveChanges(changes, policies)
    : undefined;
  const meaning = verdictDiffText(changes, settingChanges(before.policy, after.policy), counts);
  return { ...(await shown(patch, patch === "" ? [] : ["", ...meaning])), stderr };
}

/** The rules of a policy as the tools of a backend print them; with `auto`, those of nftables. */
function rulesFor(requested: AgentFlags["backend"]): (policy: Policy) => string[] {
  return requestedBackend(requested).desired;
}

async function shown(patch: string, lines: readonly string[] = []): Promise<Outcome> {
  const safe = printableLines(patch);
  const diff = (await isColourful()) ? colouredDiff(safe) : safe;
  const more = lines.map(line => `${printable(line)}\n`).join("");
  return { stdout: diff + more, exitCode: patch === "" ? SAME : DIFFERENT };
}
