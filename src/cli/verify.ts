import { NO_IPSEC } from "../backends/limits.ts";
import { printableJson, printableLines } from "../system/printable.ts";
import { comparisonFor } from "./backend.ts";
import { command } from "./command.ts";
import { choice } from "./flag.ts";
import { configFlags } from "./policy.ts";
import { notesOf, subjectOf } from "./subject.ts";

/** Exit codes by result, as in diff(1). */
const EXIT_CODES = { proven: 0, differs: 1, unproven: 2 } as const;

export const verify = command({
  name: "verify",
  summary: "prove that the kernel's NAT follows the config",
  description:
    "Compares the verdict of the active agent's policy or, without an agent or with --config, of the config, with the verdict of the kernel's whole NAT at postrouting, foreign rules included, for every destination, source, interface, protocol, port and mark. Lists the connections that differ and the rules that decide. Writes nothing. Exits with 0 if all connections agree, with 1 if some differ, and with 2 if a rule that is not understood or not read prevents a proof.",
  flags: {
    output: choice(["text", "json"], "output format", "text"),
    ...configFlags,
  },
  readsPolicy: "agent",
  examples: ["ipmasq verify", "ipmasq verify --output=json --enable-ipv6"],
  async run({ output, configmap }, flags) {
    const subject = await subjectOf(flags, configmap);
    const { policy, stderr } = subject;
    const notes = notesOf(subject, flags);
    if (!policy) return { stderr, notes, exitCode: EXIT_CODES.unproven };
    const inspect = await import("../inspect/verify.ts");
    const { verificationJson } = await import("../inspect/verification.ts");
    const matchesIpsec = async () => {
      const { backend } = await comparisonFor(flags, policy);
      return !(backend.limits ?? []).includes(NO_IPSEC);
    };
    const result = verificationJson(await inspect.verify(policy, matchesIpsec));
    const { verificationText } = await import("../inspect/verification-text.ts");
    const text =
      output === "json"
        ? printableJson(JSON.stringify(result, null, 2))
        : printableLines(verificationText(result).join("\n"));
    return { stdout: `${text}\n`, stderr, notes, exitCode: EXIT_CODES[result.result] };
  },
});
