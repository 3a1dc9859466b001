import { BACKENDS } from "../backends/backends.ts";
import { FAMILIES } from "../net/cidr.ts";
import { command } from "./command.ts";
import { choice } from "./flag.ts";
import { configFlags, readPolicy } from "./policy.ts";

/** Renderers by output format. */
const DOCUMENTS = new Map(BACKENDS.flatMap(({ documents }) => Object.entries(documents)));

export const render = command({
  name: "render",
  summary: "print the rules for an empty kernel",
  description:
    "Prints the rules that the agent would write to an empty kernel, as input for nft -f -, nft -j -f - or iptables-restore. Runs no other program and needs no privileges. The config may be a Kubernetes manifest with a ConfigMap.",
  flags: {
    format: choice([...DOCUMENTS.keys()], "output format", "nft"),
    family: choice(
      FAMILIES,
      "render only this family; iptables-restore always renders one family (default ip)",
    ),
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
    const stdout = DOCUMENTS.get(format)?.({ ...policy, families }, family ?? "ip") ?? "";
    return { stdout, stderr, notes, exitCode: 0 };
  },
});
