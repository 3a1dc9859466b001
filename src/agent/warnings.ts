import { type FamilyFailure, familyText } from "../backends/sync.ts";
import { FAMILIES, type Family } from "../net/cidr.ts";
import type { AgentState } from "../observe/agent-state.ts";
import type { Log } from "../observe/log.ts";
import { snatReason } from "../policy/own-addresses.ts";
import type { Policy } from "../policy/policy.ts";

/** Subjects of warnings. There is at most one warning per topic. */
export type Topic = "address" | "events" | "fallback" | "leftovers" | "limits" | "writer" | Family;

/** Current problems that do not keep the policy from being in force, logged once and kept for `status` while they last. */
export class Warnings {
  constructor(
    readonly state: AgentState,
    readonly log: Log,
  ) {}

  /** Sets the warning of a topic and logs it if it is new or has changed. Undefined ends the warning. */
  set(topic: Topic, message: string | undefined, level: "warn" | "info" = "warn"): void {
    const { warnings } = this.state;
    if (message === undefined) {
      warnings.delete(topic);
      return;
    }
    if (message !== warnings.get(topic)) this.log[level](message);
    warnings.set(topic, message);
  }

  /** Sets or ends the warnings about families that could not be synced. */
  setFamilies(failures: readonly FamilyFailure[]): void {
    for (const family of FAMILIES) {
      const failed = failures.find(it => it.family === family);
      this.set(family, failed && familyText(failed));
    }
  }
}

/** The warning while the node has no address for `snatAddresses`. */
export function addressWarning({ families }: Policy): string | undefined {
  const missing = families.flatMap(({ snat }) => (snat && !snat.chosen ? [snatReason(snat)] : []));
  return missing.length > 0 ? missing.join("; ") : undefined;
}

/** The warning while another backend replaces the preferred one. */
export function fallbackText(to: string, from: string, failure = ""): string {
  return `${to} writes the rules because ${from} fails: ${failure}`;
}
