import { existsSync } from "node:fs";
import { agentSocketPath } from "../agent/node-lock.ts";
import type { Backend } from "../backends/backend.ts";
import type { Policy } from "../policy/policy.ts";
import type { AgentFlags } from "./command.ts";
import { readPolicy } from "./policy.ts";
import { buildText } from "./version.ts";

/** The policy that a command judges by, and where it comes from. */
export interface Subject {
  /** Undefined if the config has errors, or the active agent has no valid config. */
  readonly policy: Policy | undefined;
  readonly policyFrom: "agent" | "config";
  /** The source of the policy, to follow "judged by" in a sentence. */
  readonly source: string;
  /** The backend of the agent that sent the policy. */
  readonly backend?: Backend["name"] | undefined;
  /** The number of conflicts that the agent found. */
  readonly conflicts?: number;
  /** The problems of the config, as lines for standard error. */
  readonly stderr: string;
  readonly notes: readonly string[];
}

/**
 * The policy on this node: of `--config` if it is given, otherwise of the active agent, and without an agent that of the
 * default path. If flags that affect the policy are given without `--config`, they apply to the agent's config.
 *
 * @param configmap the ConfigMap to read, if a manifest contains several; otherwise empty
 */
export async function subjectOf(flags: AgentFlags, configmap: string): Promise<Subject> {
  if (flags.configGiven) {
    const source = `${flags.config}, as --config says`;
    return { ...(await readPolicy(flags, configmap)), policyFrom: "config", source, notes: [] };
  }
  const { askPolicy } = await import("../inspect/ask-agent.ts");
  const answer = await askPolicy(agentSocketPath(flags["runtime-dir"]));
  const read = async (path: string, of: string, notes: readonly string[] = []): Promise<Subject> => ({
    ...(await readPolicy({ ...flags, config: path }, configmap)),
    policyFrom: "config",
    source: `${defaultsBecause(path) ?? path}; ${of}`,
    notes,
  });
  if (answer === "unreachable") return read(flags.config, `no agent answers in ${flags["runtime-dir"]}`);
  if (answer instanceof Error) {
    const note = `the active agent was not asked for its policy, because ${answer.message}`;
    return read(flags.config, "the config of the active agent is unknown", [note]);
  }
  const { build, backend, config, policy, conflicts } = answer;
  const path = config?.path ?? flags.config;
  if (build !== buildText()) return read(path, `the active agent is another build (${build})`);
  if (flags.policyGiven || configmap !== "")
    return read(path, "it is the config of the active agent, with the flags of this command");
  const outdated = config?.ok === false ? "; the config now has errors, so the last good policy stays" : "";
  return {
    policy,
    policyFrom: "agent",
    source: `the policy of the active agent (${path})${outdated}`,
    backend,
    conflicts,
    stderr: "",
    notes: policy ? [] : ["the active agent has no valid config yet"],
  };
}

/** Why the defaults apply; undefined if the config exists. */
export function defaultsBecause(path: string): string | undefined {
  return existsSync(path) ? undefined : `the defaults, because ${path} does not exist`;
}

/** The notes of a command about its policy. The source is left out if a flag names the config. */
export function notesOf({ source, notes }: Subject, { configGiven }: AgentFlags): string[] {
  return [...(configGiven ? [] : [`judged by ${source}`]), ...notes];
}
