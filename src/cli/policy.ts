import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";
import type { AgentFlags } from "./command.ts";
import { text } from "./flags.ts";

/** Of commands whose config may be a manifest: names one ConfigMap of several in it. */
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
  path = flags.config,
): Promise<{ readonly policy: Policy | undefined; readonly stderr: string }> {
  const loaded = await loadConfig(path, {
    enableIPv6: flags["enable-ipv6"],
    manifest: configmap === "" ? {} : { configMap: configmap },
  });
  const stderr = formatProblems(loaded.problems)
    .map(line => `${line}\n`)
    .join("");
  return { policy: loaded.ok ? policyOf(loaded.config, policyFlags(flags)) : undefined, stderr };
}
