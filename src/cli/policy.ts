import type { Config } from "../config/keys.ts";
import type { LoadOptions } from "../config/load.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { needsOwnAddresses, withOwnAddresses } from "../policy/own-addresses.ts";
import { type Policy, type PolicyFlags, policyOf } from "../policy/policy.ts";
import type { AgentFlags } from "./command.ts";
import { text } from "./flag.ts";

/** The flag that selects a ConfigMap, for commands whose config may be a manifest. */
export const configFlags = {
  configmap: text("NAME", "ConfigMap to read, if a manifest contains several", ""),
};

/** The flags of the agent that affect the policy. */
export function policyFlags(flags: AgentFlags): PolicyFlags {
  const toPorts = flags["to-ports"];
  return {
    enableIPv6: flags["enable-ipv6"],
    masqChain: flags["masq-chain"],
    nomasqAllReservedRanges: flags["nomasq-all-reserved-ranges"],
    randomFully: flags["random-fully"],
    toPorts: toPorts?.length === 0 ? undefined : toPorts,
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

/** The policy of config and flags on this node. */
export async function policyHere(config: Config, flags: AgentFlags): Promise<Policy> {
  const policy = policyOf(config, policyFlags(flags));
  if (!needsOwnAddresses(policy)) return policy;
  const { readOwnAddresses } = await import("../inspect/own-addresses.ts");
  return withOwnAddresses(policy, await readOwnAddresses());
}

/**
 * The policy of config and flags, and the problems of the config, as lines for standard error.
 *
 * @param configmap the ConfigMap to read, if a manifest contains several; otherwise empty
 * @param path the path of the config, if it differs from `--config`
 * @returns no policy if the config has errors
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
  return { policy: loaded.ok ? await policyHere(loaded.config, flags) : undefined, stderr };
}
