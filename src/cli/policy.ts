import type { PolicyFlags } from "../policy/policy.ts";
import type { AgentFlags } from "./command.ts";

/** Those of the agent's flags that a policy depends on. */
export function policyFlags(flags: AgentFlags): PolicyFlags {
  return {
    enableIPv6: flags["enable-ipv6"],
    masqChain: flags["masq-chain"],
    nomasqAllReservedRanges: flags["nomasq-all-reserved-ranges"],
    randomFully: flags["random-fully"],
    toPorts: flags["to-ports"],
  };
}
