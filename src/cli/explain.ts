import * as v from "valibot";
import { FAMILIES } from "../backends/backend.ts";
import { chooseBackend } from "../backends/choose.ts";
import type { Explanation, Question } from "../inspect/explain.ts";
import { type Address, parseAddress } from "../net/cidr.ts";
import { type ParseFailure, parsedBy } from "../net/parse-failure.ts";
import { PROTOCOLS } from "../net/protocol.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";
import { printableJson, printableLines } from "../system/printable.ts";
import { UsageError } from "./args.ts";
import { type AgentFlags, command, type Outcome } from "./command.ts";
import { exemptionFor } from "./exemption.ts";
import { anyOf, choice, toggle } from "./flags.ts";
import { configFlags, readPolicy } from "./policy.ts";

export const explain = command({
  name: "explain",
  summary: "say what happens to a connection, and why",
  description:
    "Says whether a connection to DST, from SRC, leaves with the node's address or keeps its own: by which rule, because of which CIDR, and from which line of which file that came. Asks the kernel only with --live. Names the chains of nftables, or with --backend=iptables those of iptables. Without addresses, reads connections from standard input, one per line, as DST or as SRC DST.",
  words: "[[SRC] DST]",
  flags: {
    protocol: v.pipe(
      v.optional(
        v.picklist(
          PROTOCOLS,
          ({ received }) => `${received} is not a protocol that is known; write ${anyOf(PROTOCOLS)}`,
        ),
      ),
      v.metadata({ placeholder: PROTOCOLS.join("|"), help: "of the connection" }),
    ),
    port: v.pipe(
      v.optional(v.pipe(v.string(), parsedBy(parsePort))),
      v.metadata({ placeholder: "NUMBER", help: "that the connection goes to" }),
    ),
    out: v.pipe(
      v.optional(v.string()),
      v.metadata({ placeholder: "INTERFACE", help: "by which the connection leaves the node" }),
    ),
    live: toggle("answer from the kernel's rules, and say if the config differs", "false"),
    output: choice(["text", "json"], "how to print it: json is an object a line", "text"),
    ...configFlags,
  },
  readsPolicy: true,
  examples: [
    "ipmasq explain 203.0.113.7",
    "ipmasq explain 10.244.1.2 10.96.0.10 --protocol=udp --port=53 --out=eth0",
    "ipmasq explain --live 10.244.1.2 203.0.113.7",
    "ipmasq explain --output=json --config=configmap.yaml < addresses",
  ],
  async run({ output, configmap, protocol, port, out, live }, flags, words) {
    const inspect = await import("../inspect/explain.ts");
    const { explanationLine, explanationText } = await import("../inspect/explain-text.ts");
    const common = {
      ...(protocol && { protocol }),
      ...(port === undefined ? {} : { port }),
      ...(out === undefined ? {} : { out }),
    };
    const asked = words.length > 0 ? undefined : await linesOfInput();
    const single = asked ? undefined : question(words, common);
    const { policy, stderr } = await readPolicy(flags, configmap);
    if (!policy) return { stderr, exitCode: 1 };
    const backend = flags.backend === "iptables" ? "iptables" : "nftables";
    const printed = (it: Explanation): string => {
      if (output === "json") return printableJson(JSON.stringify(it));
      const text = single ? explanationText(it, policy, backend).join("\n") : explanationLine(it);
      return printableLines(text);
    };
    const { answer, notes }: Answering = live
      ? await fromKernel(flags, policy)
      : { answer: it => inspect.explain(policy, it), notes: "" };
    const about = stderr + notes;
    if (single) return { stdout: `${printed(answer(single))}\n`, stderr: about, exitCode: 0 };
    return many(asked ?? [], words => printed(answer(question(words, common))), about);
  },
});

interface Answering {
  answer(it: Question): Explanation;
  /** For standard error. */
  readonly notes: string;
}

async function fromKernel(flags: AgentFlags, policy: Policy): Promise<Answering> {
  const { explainLive } = await import("../inspect/explain.ts");
  const { backend } = await chooseBackend({
    requested: flags.backend,
    policy,
    ...exemptionFor(policy.chain, async () => policy),
  });
  const { rules: kernel, failures } = await backend.rules(FAMILIES);
  const { findConflicts } = await import("../conflicts/find.ts");
  const { conflicts } = await findConflicts(policy, backend.name);
  const { readAddressTypes } = await import("../inspect/local-routes.ts");
  const { isLocal, isBroadcast } = await readAddressTypes();
  const answer = (it: Question) => {
    const local = isLocal(it.destination) ? { local: true } : {};
    const broadcast = isBroadcast(it.destination) ? { broadcast: true } : {};
    return explainLive(policy, { ...it, ...local, ...broadcast }, kernel, conflicts);
  };
  return { answer, notes: failures.map(it => `ipmasq: rules not read: ${it}\n`).join("") };
}

/** What is said of each line. One that cannot be understood is reported with its number, and the others go on. */
function many(
  lines: readonly string[],
  answer: (words: readonly string[]) => string,
  stderr: string,
): Outcome {
  const answers: string[] = [];
  const faults: string[] = [];
  lines.forEach((line, i) => {
    const words = line.replace(/#.*/, "").trim().split(/\s+/).filter(Boolean);
    if (words.length === 0) return;
    try {
      answers.push(`${answer(words)}\n`);
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      faults.push(`standard input:${i + 1}: ${error.message}\n`);
    }
  });
  return { stdout: answers.join(""), stderr: stderr + faults.join(""), exitCode: faults.length > 0 ? 1 : 0 };
}

async function linesOfInput(): Promise<string[]> {
  if (process.stdin.isTTY) {
    throw new UsageError("no address; write one, as in `ipmasq explain 203.0.113.7`");
  }
  try {
    return (await Bun.stdin.text()).split("\n");
  } catch (error) {
    throw new UsageError(`standard input cannot be read: ${messageOf(error)}`);
  }
}

function question(words: readonly string[], common: Omit<Question, "source" | "destination">): Question {
  const [first, second, surplus] = words;
  if (surplus !== undefined)
    throw new UsageError(`unexpected argument "${surplus}"; write SRC DST, or only DST`);
  if (first === undefined) throw new UsageError("no address; write SRC DST, or only DST");
  const destination = address(second ?? first);
  if (second === undefined) return { destination, ...common };
  const source = address(first);
  if (source.family !== destination.family) {
    throw new UsageError(
      `${source.text} and ${destination.text} are of different families; write two of the same family`,
    );
  }
  return { source, destination, ...common };
}

function address(text: string): Address {
  const parsed = parseAddress(text);
  if (!("what" in parsed)) return parsed;
  const remedy = /[g-z]/i.test(text) ? "give its address: names are not looked up" : parsed.remedy;
  throw new UsageError(`${parsed.what}; ${remedy}`);
}

function parsePort(text: string): number | ParseFailure {
  const number = Number(text);
  if (/^\d{1,5}$/.test(text) && number >= 1 && number <= 65535) return number;
  return { what: `"${text}" is not a port`, remedy: "write a number from 1 to 65535" };
}
