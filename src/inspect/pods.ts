import type { NetworkInterfaceInfo } from "node:os";
import { normalizeCidr } from "cidr-tools";
import { parseAddress } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";
import { verdict } from "../policy/verdict.ts";

/**
 * What is odd about the Pods of this node: networks on the bridges that CNI plugins make, connections to which would
 * be masqueraded.
 *
 * @param interfaces as `networkInterfaces` of node:os returns them
 */
export function podProblems(
  policy: Policy,
  interfaces: Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>,
): string[] {
  return Object.entries(interfaces).flatMap(([name, addresses = []]) => {
    if (!BRIDGE.test(name)) return [];
    return addresses.flatMap(({ address, cidr }) => {
      const length = cidr?.split("/")[1];
      const destination = parseAddress(address);
      if (length === undefined || "what" in destination) return [];
      if (verdict(policy, { destination }).verdict === "keep") return [];
      const network = normalizeCidr(`${address}/${length}`);
      return [
        `${network} on ${name} looks like the Pods of this node, and connections to them are masqueraded; add their CIDR to nonMasqueradeCIDRs`,
      ];
    });
  });
}

/** Of the CNI plugin bridge, of kubenet, kube-router and weave. */
const BRIDGE = /^(cni|cbr)\d+$|^(kube-bridge|weave)$/;
