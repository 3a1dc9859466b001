import { incumbentSync } from "../../lab/incumbent.ts";
import type { Contestant } from "./contestant.ts";

/** The chain of ip-masq-agent by the calls that it makes at each sync, without the Go program that makes them. */
export const CHAINS: readonly Contestant[] = ["iptables-nft", "iptables-legacy"].map(variant => ({
  name: `RETURN chain, ${variant}`,
  ours: false,
  linear: true,
  sync: (run, cidrs) => incumbentSync({ run }, variant, cidrs),
}));
