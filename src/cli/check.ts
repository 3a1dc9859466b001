import { existsSync } from "node:fs";
import type { Config } from "../config/keys.ts";
import { loadConfig } from "../config/load.ts";
import { type ConfigWarning, formatProblems, namesIn, withoutAllowed } from "../config/problem.ts";
import { policyOf } from "../policy/policy.ts";
import { printable } from "../system/printable.ts";
import { type AgentFlags, command } from "./command.ts";
import { text, toggle } from "./flag.ts";
import { configFlags, loadOptions, policyFlags } from "./policy.ts";

export const check = command({
  name: "check",
  summary: "report errors and warnings in the config",
  description:
    "Reads the config as the agent does with the same flags. Prints each problem with its place and remedy, and warns about valid settings that are probably mistakes. The config may be a Kubernetes manifest with a ConfigMap. Each warning ends with its name; --allow=NAME or the comment # ipmasq: allow NAME in the config accepts it. Exits with 1 if the config has an error.",
  flags: {
    strict: toggle("treat warnings as errors", "false"),
    allow: text("NAMES", "names of accepted warnings, separated by commas", ""),
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
    const found = loaded.ok ? await lintOn(loaded.config, flags) : [];
    // One warning about a short interval is enough.
    const isRaised = loaded.problems.some(it => it.severity === "warning" && it.name === "interval-raised");
    const lint = isRaised ? found.filter(it => it.name !== "frequent-resync") : found;
    const allowances = [...loaded.allowances, ...flag.allowances];
    const problems = withoutAllowed([...loaded.problems, ...lint, ...flag.problems], allowances);
    const lines = formatProblems(problems);
    if (problems.length === 0) {
      lines.push(
        files.length > 0
          ? `${flags.config}: no problems`
          : `${flags.config}: ${existsSync(flags.config) ? "contains no config" : "does not exist"}, so the defaults apply`,
      );
    }
    return {
      stdout: lines.map(line => `${printable(line)}\n`).join(""),
      exitCode: ok && !(strict && problems.length > 0) ? 0 : 1,
    };
  },
});

async function lintOn(config: Config, flags: AgentFlags): Promise<ConfigWarning[]> {
  const { lint } = await import("../inspect/lint.ts");
  return lint(config, policyOf(config, policyFlags(flags)));
}
