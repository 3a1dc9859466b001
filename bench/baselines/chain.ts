import { upstreamAgentSync } from "../../test/kernel/upstream-agent.ts";
import type { Baseline } from "./baseline.ts";

/** The chain of ip-masq-agent by the calls that it makes at each sync, without the Go program that makes them. */
export const CHAINS: readonly Baseline[] = ["iptables-nft", "iptables-legacy"].map(variant => ({
  name: `RETURN chain, ${variant}`,
  ours: false,
  linear: true,
  sync: (run, cidrs) => upstreamAgentSync({ run }, variant, cidrs),
}));
