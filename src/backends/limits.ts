/** Abilities that kernel or programs may lack, with the consequence, as `status` shows them. */

/** A limit of a backend whose rules cannot match packets under an IPsec policy. */
export const NO_IPSEC =
  "the kernel cannot match packets under an IPsec policy; they are masqueraded like all others";

/** A limit of a backend that cannot bind kept connections to their source. */
export const NOT_ENFORCED =
  "enforceNonMasquerade has no effect: kernel or iptables lacks NETMAP, so foreign rules can masquerade kept connections; load the module xt_NETMAP, or start the agent with --backend=nftables";

/** A limit of a backend that cannot drop leaks, if the policy does. */
export const NO_LEAKS =
  "dropLeaks has no effect: iptables cannot drop packets after NAT, and nft is not installed; install nftables";

/** The same limit if nft is installed, but fails. */
export function leaksFail(why: string): string {
  return `dropLeaks has no effect: iptables cannot drop packets after NAT, and nft fails: ${why}`;
}
