import { formatOrigin, type OwnAddress, type Policy, type SnatChoice } from "./policy.ts";

/** Whether the policy depends on the node's addresses. */
export function needsOwnAddresses({ families }: Policy): boolean {
  return families.some(({ snat }) => snat);
}

/**
 * The policy with the address of each family that `snatAddresses` chooses: an address in the first CIDR that contains
 * one. Returns the same object if the choice stays the same.
 *
 * @param addresses the addresses that can be chosen, preferred ones first
 */
export function withOwnAddresses(policy: Policy, addresses: readonly OwnAddress[]): Policy {
  let isSame = true;
  const families = policy.families.map(family => {
    const { snat } = family;
    const chosen = snat && choose(snat, addresses);
    if (textOf(snat?.chosen) === textOf(chosen)) return family;
    isSame = false;
    return { ...family, snat: snat && { ...snat, chosen } };
  });
  return isSame ? policy : { ...policy, families };
}

function choose({ networks }: SnatChoice, addresses: readonly OwnAddress[]): SnatChoice["chosen"] {
  for (const network of networks) {
    const found = addresses.find(({ address }) => network.cidr.contains(address));
    if (found) return { ...found, network };
  }
  return undefined;
}

function textOf(chosen: SnatChoice["chosen"]): string {
  return chosen ? `${chosen.address.text} ${chosen.interface}` : "";
}

/** Why masqueraded connections get this address, as a sentence. */
export function snatReason({ networks, chosen }: SnatChoice): string {
  if (!chosen)
    return `no address of the node is in snatAddresses (${listed(networks)}), so the kernel chooses`;
  const { address, network } = chosen;
  const where = `${address.text} of ${chosen.interface} is in ${network.cidr} (${formatOrigin(network.origin)})`;
  if (networks.length === 1) return `${where}, the CIDR of snatAddresses`;
  return `${where}, the first CIDR of snatAddresses that contains an address of the node`;
}

function listed(networks: SnatChoice["networks"]): string {
  const more = networks.length - MOST_LISTED;
  const texts = networks.slice(0, MOST_LISTED).map(({ cidr }) => cidr.text);
  return [...texts, ...(more > 0 ? [`and ${more} more`] : [])].join(" ");
}

const MOST_LISTED = 8;
