import { upstreamAgentSync } from "../../test/kernel/upstream-agent.ts";
import type { Baseline } from "./baseline.ts";

/** ip-masq-agent's chain, by the commands of a sync, without the Go program that runs them. */
export const CHAINS: readonly Baseline[] = ["iptables-nft", "iptables-legacy"].map(variant => ({
  name: `RETURN chain, ${variant}`,
  ours: false,
  linear: true,
  sync: (run, cidrs) => upstreamAgentSync({ run }, variant, cidrs),
}));
