import { normalizeCidr } from "cidr-tools";
import { decide } from "../policy/decision.ts";
import type { Policy } from "../policy/policy.ts";
import { type NodeInterfaces, nodeAddresses } from "./node-addresses.ts";

/**
 * What is odd about the Pods of this node: networks on the bridges that CNI plugins make, connections to which would
 * be masqueraded.
 */
export function podProblems(policy: Policy, interfaces: NodeInterfaces): string[] {
  return nodeAddresses(interfaces).flatMap(({ interface: name, address, prefix }) => {
    if (!BRIDGE.test(name) || prefix === undefined) return [];
    if (decide(policy, { destination: address }).verdict === "keep") return [];
    const network = normalizeCidr(`${address.text}/${prefix}`);
    return [
      `${network} on ${name} looks like the Pods of this node, and connections to them are masqueraded; add their CIDR to nonMasqueradeCIDRs`,
    ];
  });
}

/** Of the CNI plugin bridge, of kubenet, kube-router and weave. */
const BRIDGE = /^(cni|cbr)\d+$|^(kube-bridge|weave)$/;
