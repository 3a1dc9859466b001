import type { Status } from "./status.ts";

/** The rules in the kernel, one per line, of the backend and families of a status; or why they cannot be read. */
export type ActualRules = { readonly actual: readonly string[] } | { readonly unreadable: string };

/**
 * Returns which rules that an agent reports are missing in the kernel; undefined if no rule is missing. Compares only
 * CIDRs, so it needs neither flags nor config of the agent.
 */
function missingIn(actual: readonly string[], status: Status): string | undefined {
  if (actual.length === 0) return "the kernel has no rules of ipmasq";
  const words = new Set(actual.flatMap(line => line.match(/[0-9a-f.:]+(?:\/\d+)?/g) ?? []));
  const missing = status.cidrs.filter(
    ({ cidr, family, inside }) =>
      inside === undefined &&
      masqueradesAny(status, family) &&
      !words.has(cidr) &&
      !words.has(withoutPrefix(cidr)),
  );
  if (missing.length === 0) return undefined;
  const [first, ...others] = missing;
  return `the kernel's rules lack ${first?.cidr}${others.length > 0 ? ` and ${others.length} more CIDRs` : ""}`;
}

/** Checks the status that an agent reports against the kernel's rules. */
export function checkedAgainst(kernel: ActualRules, status: Status): Status {
  if ("unreadable" in kernel) return { ...status, kernel: `not read: ${kernel.unreadable}` };
  const missing = missingIn(kernel.actual, status);
  if (missing === undefined) return { ...status, kernel: "has all CIDRs of the agent" };
  if (!status.inSync) return { ...status, kernel: missing };
  const { since: _, ...rest } = status;
  return { ...rest, inSync: false, why: `the agent reports in sync, but ${missing}`, kernel: missing };
}

/** False if `sourceCIDRs` has no CIDR of the family: then no list of destinations matters, and nftables has none. */
function masqueradesAny({ policy }: Status, family: Status["cidrs"][number]["family"]): boolean {
  return policy?.sourceCIDRs?.every(it => it.includes(":") !== (family === "ip6")) !== true;
}

/** Some tools print the CIDR of a single address without its length. */
function withoutPrefix(cidr: string): string {
  return cidr.replace(/\/(32|128)$/, "");
}
