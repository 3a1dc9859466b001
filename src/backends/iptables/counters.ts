import type { Cidr, Family } from "../../net/cidr.ts";
import type { Counter } from "../backend.ts";

/** A rule of ours with what the kernel counted by it. */
export interface CountedRule {
  /** The destination that it names, if it does. */
  readonly cidr: Cidr | undefined;
  readonly does: "return" | "go to" | "masquerade";
  readonly packets: number;
  readonly bytes: number;
}

/**
 * The verdicts behind the counters of rules: those with a destination tell their own. What is masqueraded by none
 * of them is the rest, since exceptions go to the chain that masquerades and are counted there once more.
 */
export function counters(family: Family, rules: readonly CountedRule[]): Counter[] {
  const decided = rules.flatMap(({ cidr, does, packets, bytes }): Counter[] =>
    cidr
      ? [{ family, verdict: does === "return" ? "keep" : "masquerade", cidr, connections: packets, bytes }]
      : [],
  );
  const rest = { connections: 0, bytes: 0 };
  for (const { does, packets, bytes } of rules) {
    if (does !== "masquerade") continue;
    rest.connections += packets;
    rest.bytes += bytes;
  }
  for (const { verdict, connections, bytes } of decided) {
    if (verdict !== "masquerade") continue;
    rest.connections -= connections;
    rest.bytes -= bytes;
  }
  return [...decided, { family, verdict: "masquerade", cidr: undefined, ...rest }];
}
