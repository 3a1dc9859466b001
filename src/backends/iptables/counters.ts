import type { Cidr, Family } from "../../net/cidr.ts";
import type { Counter } from "../backend.ts";

/** A rule of ours with what the kernel counted by it. */
export interface CountedRule {
  /** The destination that it names, if it does. */
  readonly cidr: Cidr | undefined;
  /** The chain that it is in, and its target: a chain, RETURN, NETMAP or MASQUERADE. */
  readonly chain: string;
  readonly target: string | undefined;
  readonly packets: number;
  readonly bytes: number;
  /** The kernel's number for the rule, where it is known. */
  readonly handle?: number;
}

/**
 * The counts of verdicts. A rule with a destination counts for that CIDR. The rest is counted by the rule that leads to
 * the masquerading chain, or by the masquerading rules if there is no such chain.
 *
 * @param outbound the chain that masquerades where several rules need it
 */
export function counters(family: Family, rules: readonly CountedRule[], outbound: string): Counter[] {
  const found = new Map<string, Counter>();
  for (const { cidr, chain, target, packets, bytes, handle } of rules) {
    const keeps = (target === "RETURN" || target === "NETMAP") && cidr !== undefined;
    const masquerades = target === outbound || (target === "MASQUERADE" && chain !== outbound);
    if (!keeps && !masquerades) continue;
    const verdict = keeps ? "keep" : "masquerade";
    const key = `${verdict} ${cidr?.text ?? ""}`;
    const before = found.get(key) ?? { connections: 0, bytes: 0, identity: "" };
    found.set(key, {
      ...{ family, verdict, cidr },
      connections: before.connections + packets,
      bytes: before.bytes + bytes,
      ...(handle !== undefined && { identity: `${before.identity ?? ""} ${handle}` }),
    });
  }
  return [...found.values()];
}
