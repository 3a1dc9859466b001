import type { Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems, type Problem } from "../config/problem.ts";
import { printable } from "../system/printable.ts";
import { command } from "./command.ts";
import { toggle } from "./flags.ts";
import { configFlags, loadOptions } from "./policy.ts";

export const check = command({
  name: "check",
  summary: "say what is wrong with the config",
  description:
    "Reads the config as the agent would with the same flags, and prints every problem with its place and its remedy, and what is right but odd. The config may be a Kubernetes manifest with a ConfigMap. Exits with 1 if anything is an error.",
  flags: { strict: toggle("take warnings for errors", "false"), ...configFlags },
  readsPolicy: true,
  examples: ["ipmasq check --config=configmap.yaml --strict"],
  async run({ strict, configmap }, flags) {
    const loaded = await loadConfig(flags.config, loadOptions(flags, configmap));
    const { ok, files } = loaded;
    const problems = [...loaded.problems, ...(loaded.ok ? await adviceOn(loaded.config) : [])];
    const lines = formatProblems(problems);
    if (problems.length === 0) {
      lines.push(
        files.length > 0
          ? `${flags.config}: no problems`
          : `${flags.config}: does not exist, so the defaults apply`,
      );
    }
    return {
      stdout: lines.map(line => `${printable(line)}\n`).join(""),
      exitCode: ok && !(strict && problems.length > 0) ? 0 : 1,
    };
  },
});

async function adviceOn(config: Config): Promise<Problem[]> {
  const { advice } = await import("../inspect/advice.ts");
  return advice(config);
}
