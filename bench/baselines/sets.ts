import { type Baseline, mustRun } from "./baseline.ts";

/** An anonymous set in a handwritten ruleset, replaced in one transaction. */
export const ANONYMOUS: Baseline = {
  name: "anonymous set",
  ours: false,
  linear: false,
  sync: (run, cidrs) => mustRun(run, ["nft", "-f", "-"], anonymous(cidrs)),
};

/** kindnet's masquerading rules: each sync deletes and adds table, chain and sets. */
export const KINDNET: Baseline = {
  name: "kindnet's rules",
  ours: false,
  linear: false,
  sync: (run, cidrs) => mustRun(run, ["nft", "-f", "-"], kindnet(cidrs)),
};

function anonymous(cidrs: readonly string[]): string {
  return `
table ip by-hand
delete table ip by-hand
table ip by-hand {
  chain postrouting {
    type nat hook postrouting priority srcnat + 1
    fib daddr type local return
    ip daddr { ${["169.254.0.0/16", ...cidrs].join(", ")} } return
    masquerade fully-random
  }
}
`;
}

function kindnet(cidrs: readonly string[]): string {
  return `
table inet kindnet-ipmasq
delete table inet kindnet-ipmasq
table inet kindnet-ipmasq {
  set noMasqV4 {
    type ipv4_addr
    flags interval
    auto-merge
    elements = { ${["169.254.0.0/16", ...cidrs].join(", ")} }
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
`;
}
