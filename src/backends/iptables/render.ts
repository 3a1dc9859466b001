import type { Family } from "../../net/cidr.ts";
import type { Policy } from "../../policy/policy.ts";
import { restoreInput } from "./restore.ts";
import { ruleset } from "./ruleset.ts";

/** The policy of one family as a document for `iptables-restore --noflush` or `ip6tables-restore --noflush`. */
export function renderRestore(policy: Policy, family: Family): string {
  const nothing = { chains: new Map() };
  return policy.families
    .filter(it => it.family === family)
    .map(it => restoreInput(nothing, ruleset(policy, it)) ?? "")
    .join("");
}
