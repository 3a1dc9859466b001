import { renderRestore } from "../backends/iptables/render.ts";
import { renderJson, renderText } from "../backends/nftables/render.ts";
import { command } from "./command.ts";
import { choice } from "./flags.ts";
import { configFlags, readPolicy } from "./policy.ts";

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
    ...configFlags,
  },
  readsPolicy: true,
  examples: [
    "ipmasq render --config=configmap.yaml",
    "ipmasq render --format=nft-json | nft -j -c -f -",
    "ipmasq render --format=iptables-restore --enable-ipv6 --family=ip6",
  ],
  async run({ format, family, configmap }, flags) {
    const { policy, stderr } = await readPolicy(flags, configmap);
    if (!policy) return { stderr, exitCode: 1 };
    return { stdout: RENDERERS[format](policy, family), stderr, exitCode: 0 };
  },
});
