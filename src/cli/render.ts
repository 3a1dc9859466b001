import { FAMILIES } from "../backends/backend.ts";
import { renderRestore } from "../backends/iptables/render.ts";
import { renderJson, renderText } from "../backends/nftables/render.ts";
import { command } from "./command.ts";
import { choice } from "./flag.ts";
import { configFlags, readPolicy } from "./policy.ts";

const RENDERERS = {
  nft: renderText,
  "nft-json": renderJson,
  "iptables-restore": renderRestore,
};

export const render = command({
  name: "render",
  summary: "print the rules for an empty kernel",
  description:
    "Prints the rules that the agent would write to an empty kernel, as input for nft -f -, nft -j -f - or iptables-restore. Runs no other program and needs no privileges. The config may be a Kubernetes manifest with a ConfigMap.",
  flags: {
    format: choice(["nft-json", "nft", "iptables-restore"], "output format", "nft"),
    family: choice(FAMILIES, "render only this family; iptables-restore needs one (default ip)"),
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
    const families = policy.families.filter(it => family === undefined || it.family === family);
    const notes = families.length > 0 ? [] : ["IPv6 is not enabled; use --enable-ipv6"];
    const render = RENDERERS[format];
    return { stdout: render({ ...policy, families }, family ?? "ip"), stderr, notes, exitCode: 0 };
  },
});
