import { renderRestore } from "../backends/iptables/render.ts";
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

const RENDERERS = {
  nft: renderText,
  "nft-json": renderJson,
  "iptables-restore": renderRestore,
};

export const render = command({
  name: "render",
  summary: "print the rules that the config makes, for an empty kernel",
  description:
    "Prints what the agent would put into an empty kernel, as one document that nft -j -f -, nft -f - or iptables-restore loads. Asks neither kernel nor nft and needs no privilege. The config may be a Kubernetes manifest with a ConfigMap.",
  flags: {
    format: choice(["nft-json", "nft", "iptables-restore"], "what to print", "nft"),
    family: choice(["ip", "ip6"], "for iptables-restore, or for ip6tables-restore", "ip"),
    ...configMapFlag,
  },
  readsPolicy: true,
  examples: [
    "ipmasq render --config=configmap.yaml",
    "ipmasq render --format=nft-json | nft -j -c -f -",
    "ipmasq render --format=iptables-restore --enable-ipv6 --family=ip6",
  ],
  async run({ format, family, configmap }, flags) {
    const loaded = await loadConfig(flags.config, {
      enableIPv6: flags["enable-ipv6"],
      manifest: configmap === "" ? {} : { configMap: configmap },
    });
    const stderr = formatProblems(loaded.problems)
      .map(line => `${line}\n`)
      .join("");
    if (!loaded.ok) return { stderr, exitCode: 1 };
    const policy = policyOf(loaded.config, policyFlags(flags));
    return { stdout: RENDERERS[format](policy, family), stderr, exitCode: 0 };
  },
});
