import { normalizeCidr } from "cidr-tools";
import { decide } from "../policy/decision.ts";
import type { Policy } from "../policy/policy.ts";
import { type NodeInterfaces, nodeAddresses } from "./node-addresses.ts";

/** Returns a problem for each Pod network of this node, on a bridge of a CNI plugin, that the policy masquerades. */
export function podProblems(policy: Policy, interfaces: NodeInterfaces): string[] {
  return nodeAddresses(interfaces).flatMap(({ interface: name, address, prefix }) => {
    if (!BRIDGE.test(name) || prefix === undefined) return [];
    if (decide(policy, { destination: address }).verdict === "keep") return [];
    const network = normalizeCidr(`${address.text}/${prefix}`);
    return [
      `${network} on ${name} looks like a Pod network of this node, but connections to it are masqueraded; add the Pod CIDR to nonMasqueradeCIDRs`,
    ];
  });
}

/** Bridges of the CNI plugin bridge, kubenet, kube-router and weave. */
const BRIDGE = /^(cni|cbr)\d+$|^(kube-bridge|weave)$/;
