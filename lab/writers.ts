import type { Lab } from "./lab.ts";

/** How the built agent writes its rules. */
export interface Writer {
  readonly name: string;
  readonly flags: readonly string[];
  /** Makes the agent choose this writer; repeat it after the node's rules were flushed. */
  prepare(lab: Lab): Promise<unknown>;
}

export const WRITERS: readonly Writer[] = [
  { name: "nftables", flags: ["--backend=nftables"], prepare: async () => {} },
  ...["iptables-nft", "iptables-legacy"].map(name => ({
    name,
    flags: ["--backend=iptables"],
    // kubelet makes this chain too.
    prepare: (lab: Lab) => lab.node.run([name, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]),
  })),
];
