import { requestedBackend } from "../backends/backends.ts";
import type { Explanation, Question } from "../inspect/explain.ts";
import { type Address, FAMILIES, parseAddress } from "../net/cidr.ts";
import { parseOneInterface } from "../net/interface-name.ts";
import { parseBits } from "../net/mark.ts";
import type { ParseFailure } from "../net/parse-failure.ts";
import { PROTOCOLS } from "../net/protocol.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { printableJson, printableLines } from "../system/printable.ts";
import { UsageError } from "./args.ts";
import { backendFor } from "./backend.ts";
import { type AgentFlags, command } from "./command.ts";
import { choice, flag, toggle } from "./flag.ts";
import { configFlags } from "./policy.ts";
import { notesOf, subjectOf } from "./subject.ts";

export const explain = command({
  name: "explain",
  summary: "tell whether a connection is masqueraded, and why",
  description:
    "Tells whether a connection from SRC to DST is masqueraded or keeps its address, and names the rule, the CIDR and the line of the config that decide. Evaluates the policy of the active agent or, without an agent or with --config, the config; with --live, the rules in the kernel. Names nftables rules or, with --backend=iptables, iptables rules. Without arguments, reads connections from standard input, one per line, as DST or SRC DST.",
  placeholder: "[[SRC] DST]",
  flags: {
    protocol: choice(PROTOCOLS, "protocol of the connection"),
    port: flag("NUMBER", "destination port", parsePort),
    out: flag("INTERFACE", "outgoing interface", parseOneInterface),
    mark: flag("MARK", "mark of its packets, such as 0x200", parseBits),
    live: toggle("evaluate the rules in the kernel, and compare with the config", "false"),
    output: choice(["text", "json"], "output format; json prints one object per line", "text"),
    ...configFlags,
  },
  readsPolicy: "agent",
  examples: [
    "ipmasq explain 203.0.113.7",
    "ipmasq explain 10.244.1.2 10.96.0.10 --protocol=udp --port=53 --out=eth0",
    "ipmasq explain --live 10.244.1.2 203.0.113.7",
    "ipmasq explain --output=json --config=configmap.yaml < addresses",
  ],
  async run({ output, configmap, protocol, port, out, mark, live }, flags, args) {
    const inspect = await import("../inspect/explain.ts");
    const { explanationLine, explanationText } = await import("../inspect/explain-text.ts");
    const common = {
      ...(protocol && { protocol }),
      ...(port === undefined ? {} : { port }),
      ...(out === undefined ? {} : { out }),
      ...(mark === undefined ? {} : { mark }),
    };
    const lines = args.length > 0 ? undefined : await linesOfInput();
    const single = lines ? undefined : question(args, common);
    const subject = await subjectOf(flags, configmap);
    const { policy, stderr, conflicts = 0 } = subject;
    if (!policy) return { stderr, notes: notesOf(subject, flags), exitCode: 1 };
    const backend = requestedBackend(flags.backend).name;
    const print = (it: Explanation): string => {
      if (output === "json") return `${printableJson(JSON.stringify(it))}\n`;
      const text = single ? explanationText(it, policy, backend).join("\n") : explanationLine(it);
      return `${printableLines(text)}\n`;
    };
    const { answer, notes: more }: Answers = live
      ? await fromKernel(flags, policy)
      : { answer: it => inspect.explain(policy, it), notes: conflictNotes(conflicts) };
    const notes = [...notesOf(subject, flags), ...more];
    if (single) return { stdout: print(answer(single)), stderr, notes, exitCode: 0 };
    const { answers, errors } = answerLines(lines ?? [], it => print(answer(question(it, common))));
    return {
      stdout: answers.join(""),
      stderr: stderr + errors.join(""),
      notes,
      exitCode: errors.length > 0 ? 1 : 0,
    };
  },
});

/** A note on the foreign rules that only `--live` considers. */
function conflictNotes(conflicts: number): string[] {
  if (conflicts === 0) return [];
  const rules = conflicts === 1 ? "1 foreign rule" : `${conflicts} foreign rules`;
  return [`${rules} may overrule the policy; --live considers them, and ipmasq status lists them`];
}

interface Answers {
  answer(it: Question): Explanation;
  /** Rules that the answers leave out. */
  readonly notes: readonly string[];
}

/** Answers from the rules in the kernel, read once. Throws ProgramError. */
export async function fromKernel(flags: AgentFlags, policy: Policy): Promise<Answers> {
  const { explainLive } = await import("../inspect/explain.ts");
  const { backend } = await backendFor(flags, policy);
  const { rules: kernel, failures } = await backend.rules(FAMILIES);
  const { findConflicts } = await import("../conflicts/find.ts");
  const { unreadText } = await import("../inspect/status.ts");
  const { conflicts, unread } = await findConflicts(policy, backend.name);
  const { readAddressTypes } = await import("../inspect/local-routes.ts");
  const { isLocal, isBroadcast } = await readAddressTypes();
  const answer = (it: Question) => {
    const local = isLocal(it.destination) ? { local: true } : {};
    const broadcast = isBroadcast(it.destination) ? { broadcast: true } : {};
    return explainLive(policy, { ...it, ...local, ...broadcast }, kernel, conflicts);
  };
  const notes = [...failures.map(it => `rules not read: ${it}`), ...unread.map(unreadText)];
  return { answer, notes };
}

/** The answer to each line of input, and an error with the line's number for each line that is invalid. */
function answerLines(
  lines: readonly string[],
  answer: (addresses: readonly string[]) => string,
): { readonly answers: readonly string[]; readonly errors: readonly string[] } {
  const answers: string[] = [];
  const errors: string[] = [];
  lines.forEach((line, i) => {
    const addresses = line.replace(/#.*/, "").trim().split(/\s+/).filter(Boolean);
    if (addresses.length === 0) return;
    try {
      answers.push(answer(addresses));
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      errors.push(`standard input:${i + 1}: ${error.message}\n`);
    }
  });
  return { answers, errors };
}

async function linesOfInput(): Promise<string[]> {
  if (process.stdin.isTTY) {
    throw new UsageError("missing address", "write one, such as `ipmasq explain 203.0.113.7`");
  }
  try {
    return (await Bun.stdin.text()).split("\n");
  } catch (error) {
    throw new UsageError(`cannot read standard input: ${messageOf(error)}`);
  }
}

function question(addresses: readonly string[], common: Omit<Question, "source" | "destination">): Question {
  const [first, second, surplus] = addresses;
  if (surplus !== undefined) throw new UsageError(`unexpected argument "${surplus}"`, "write SRC DST or DST");
  if (first === undefined) throw new UsageError("missing address", "write SRC DST or DST");
  const destination = address(second ?? first);
  if (second === undefined) return { destination, ...common };
  const source = address(first);
  if (source.family !== destination.family) {
    const what = `${source.text} and ${destination.text} are of different families`;
    throw new UsageError(what, "write two addresses of one family");
  }
  return { source, destination, ...common };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (!("what" in parsed)) return parsed;
  const remedy = /[g-z]/i.test(text) ? "write an address, because names are not resolved" : parsed.remedy;
  throw new UsageError(parsed.what, remedy);
}

function parsePort(text: string): number | ParseFailure {
  const number = Number(text);
  if (/^\d{1,5}$/.test(text) && number >= 1 && number <= 65535) return number;
  return { what: `"${text}" is not a port`, remedy: "write a number from 1 to 65535" };
}
