import { existsSync } from "node:fs";
import { namesIn, withoutAllowed } from "../config/allowance.ts";
import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems, type Problem } from "../config/problem.ts";
import { policyOf } from "../policy/policy.ts";
import { printable } from "../system/printable.ts";
import { type AgentFlags, command } from "./command.ts";
import { text, toggle } from "./flags.ts";
import { configFlags, loadOptions, policyFlags } from "./policy.ts";

export const check = command({
  name: "check",
  summary: "say what is wrong with the config",
  description:
    "Reads the config as the agent would with the same flags, and prints every problem with its place and remedy, and advice on valid configs. The config may be a Kubernetes manifest with a ConfigMap. A warning ends with its name; --allow=NAME accepts it, and so does a comment in the config, as in # ipmasq: allow NAME. Exits with 1 if anything is an error.",
  flags: {
    strict: toggle("treat warnings as errors", "false"),
    allow: text("NAMES", "accept these warnings, separated by commas", ""),
    ...configFlags,
  },
  readsPolicy: true,
  examples: [
    "ipmasq check --config=configmap.yaml --strict",
    "ipmasq check --strict --allow=everything-kept,unknown-key",
  ],
  async run({ strict, allow, configmap }, flags) {
    const loaded = await loadConfig(flags.config, loadOptions(flags, configmap));
    const { ok, files } = loaded;
    const flag = namesIn(allow, { file: "--allow" });
    const advice = loaded.ok ? await lintOn(loaded.config, flags) : [];
    const allowances = [...loaded.allowances, ...flag.allowances];
    const problems = withoutAllowed([...loaded.problems, ...advice, ...flag.problems], allowances);
    const lines = formatProblems(problems);
    if (problems.length === 0) {
      lines.push(
        files.length > 0
          ? `${flags.config}: no problems`
          : `${flags.config}: ${existsSync(flags.config) ? "holds no config" : "does not exist"}, so the defaults apply`,
      );
    }
    return {
      stdout: lines.map(line => `${printable(line)}\n`).join(""),
      exitCode: ok && !(strict && problems.length > 0) ? 0 : 1,
    };
  },
});

async function lintOn(config: Config, flags: AgentFlags): Promise<Problem[]> {
  const { lint } = await import("../inspect/lint.ts");
  return lint(config, policyOf(config, policyFlags(flags)));
}
