import { renderJson, renderText } from "../backends/nftables/render.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { policyOf } from "../policy/policy.ts";
import { command } from "./command.ts";
import { choice, text } from "./flags.ts";
import { policyFlags } from "./policy.ts";

/** Names one ConfigMap of a manifest that holds several. */
export const configMapFlag = {
  configmap: text("NAME", "of several ConfigMaps in a manifest, the one to look into", ""),
};

export const render = command({
  name: "render",
  summary: "print the rules that the config makes, for an empty kernel",
  description:
    "Prints what the agent would put into an empty kernel, as one document that nft -j -f - or nft -f - loads. Asks neither kernel nor nft and needs no privilege. The config may be a Kubernetes manifest with a ConfigMap.",
  flags: { format: choice(["nft-json", "nft"], "what to print", "nft"), ...configMapFlag },
  readsPolicy: true,
  examples: ["ipmasq render --config=configmap.yaml", "ipmasq render --format=nft-json | nft -j -c -f -"],
  async run({ format, configmap }, flags) {
    const loaded = await loadConfig(flags.config, {
      enableIPv6: flags["enable-ipv6"],
      manifest: configmap === "" ? {} : { configMap: configmap },
    });
    const stderr = formatProblems(loaded.problems)
      .map(line => `${line}\n`)
      .join("");
    if (!loaded.ok) return { stderr, exitCode: 1 };
    const policy = policyOf(loaded.config, policyFlags(flags));
    return { stdout: format === "nft" ? renderText(policy) : renderJson(policy), stderr, exitCode: 0 };
  },
});
