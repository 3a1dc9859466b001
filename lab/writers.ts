import type { Lab } from "./lab.ts";

/** A way for the built agent to write its rules. */
export interface Writer {
  readonly name: string;
  readonly flags: readonly string[];
  /** Makes the agent choose it; to be done again when the node's rules were flushed. */
  prepare(lab: Lab): Promise<unknown>;
}

export const WRITERS: readonly Writer[] = [
  { name: "nftables", flags: ["--backend=nftables"], prepare: async () => {} },
  iptables("iptables-nft"),
  iptables("iptables-legacy"),
];

function iptables(variant: string): Writer {
  const hint = ["-t", "mangle", "-N", "KUBE-IPTABLES-HINT"];
  return {
    name: variant,
    flags: ["--backend=iptables"],
    // As kubelet does.
    prepare: lab => lab.node.run([variant, ...hint]),
  };
}
