import { upstreamAgentSync } from "../../test/kernel/upstream-agent.ts";
import { type Baseline, mustRun } from "./baseline.ts";

/** ip-masq-agent's chain, by the commands of a sync, without the Go program that runs them. */
export const CHAINS: readonly Baseline[] = ["iptables-nft", "iptables-legacy"].map(variant => ({
  name: `RETURN chain, ${variant}`,
  ours: false,
  linear: true,
  sync: (run, cidrs) => upstreamAgentSync({ run }, variant, cidrs),
}));

/** Masquerades every connection. The difference to this is the cost of a list. */
export const PLAIN = loaded(
  "masquerade, no list",
  () => `table ip plain {
  chain postrouting {
    type nat hook postrouting priority srcnat + 1
    masquerade fully-random
  }
}
`,
);

/** Without NAT and connection tracking: the cost of sending and forwarding. */
export const FORWARDING: Baseline = {
  name: "forwarding only",
  ours: false,
  linear: false,
  sync: async () => {},
};

/** An anonymous set in a handwritten ruleset, replaced in one transaction. */
export const ANONYMOUS = loaded(
  "anonymous set",
  elements => `
table ip by-hand
delete table ip by-hand
table ip by-hand {
  chain postrouting {
    type nat hook postrouting priority srcnat + 1
    fib daddr type local return
    ip daddr { ${elements} } return
    masquerade fully-random
  }
}
`,
);

/** kindnet's masquerading rules: each sync deletes and adds table, chain and sets. */
export const KINDNET = loaded(
  "kindnet's rules",
  elements => `
table inet kindnet-ipmasq
delete table inet kindnet-ipmasq
table inet kindnet-ipmasq {
  set noMasqV4 {
    type ipv4_addr
    flags interval
    auto-merge
    elements = { ${elements} }
  }
  set noMasqV6 {
    type ipv6_addr
    flags interval
    auto-merge
  }
  chain postrouting {
    type nat hook postrouting priority srcnat - 10
    ct state established,related accept
    fib daddr type local accept
    ip daddr @noMasqV4 accept
    ip6 daddr @noMasqV6 accept
    masquerade
  }
}
`,
);

/** A ruleset that one nft loads. */
function loaded(name: string, ruleset: (elements: string) => string): Baseline {
  return {
    name,
    ours: false,
    linear: false,
    sync: (run, cidrs) => mustRun(run, ["nft", "-f", "-"], ruleset(["169.254.0.0/16", ...cidrs].join(", "))),
  };
}
