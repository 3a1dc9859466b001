import { loadConfig } from "../config/load.ts";
import type { LoadOptions } from "../config/parse.ts";
import { formatProblems } from "../config/problem.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";
import type { AgentFlags } from "./command.ts";
import { text } from "./flags.ts";

/** For commands whose config may be a manifest: selects one of several ConfigMaps. */
export const configFlags = {
  configmap: text("NAME", "of several ConfigMaps in a manifest, the one to look into", ""),
};

/** Those of the agent's flags that a policy depends on. */
export function policyFlags(flags: AgentFlags): PolicyFlags {
  return {
    enableIPv6: flags["enable-ipv6"],
    masqChain: flags["masq-chain"],
    nomasqAllReservedRanges: flags["nomasq-all-reserved-ranges"],
    randomFully: flags["random-fully"],
    toPorts: flags["to-ports"],
  };
}

/** How a one-shot command reads the config. */
export function loadOptions(flags: AgentFlags, configmap: string): LoadOptions {
  return {
    enableIPv6: flags["enable-ipv6"],
    configMap: configmap === "" ? undefined : configmap,
    missing: flags.configGiven ? "error" : undefined,
  };
}

/**
 * What config and flags mean, and what is to be said of the config on standard error, a line each.
 *
 * @param configmap of several in a manifest the one to look into; empty for the only one
 * @param path where the config is, if not where the flags say
 * @returns no policy if the config is wrong
 */
export async function readPolicy(
  flags: AgentFlags,
  configmap: string,
  path?: string,
): Promise<{ readonly policy: Policy | undefined; readonly stderr: string }> {
  const options = loadOptions(flags, configmap);
  const loaded = await (path === undefined
    ? loadConfig(flags.config, options)
    : loadConfig(path, { ...options, missing: "error" }));
  const stderr = formatProblems(loaded.problems)
    .map(line => `${line}\n`)
    .join("");
  return { policy: loaded.ok ? policyOf(loaded.config, policyFlags(flags)) : undefined, stderr };
}
