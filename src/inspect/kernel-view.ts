import type { Status } from "./status.ts";

/**
 * Whether the kernel agrees with a status that reports the rules in force. It compares only CIDRs, so it needs neither
 * the agent's flags nor its config.
 *
 * @param held the rules in the kernel, of the status's backend and families, a line each
 * @returns undefined if it agrees, else what is missing
 */
function kernelDisagrees(status: Status, held: readonly string[]): string | undefined {
  if (held.length === 0) return "the kernel holds no rules of ipmasq";
  const words = new Set(held.flatMap(line => line.match(/[0-9a-f.:]+(?:\/\d+)?/g) ?? []));
  const missing = status.cidrs.filter(
    ({ cidr, coveredBy }) => coveredBy === undefined && !words.has(cidr) && !words.has(withoutPrefix(cidr)),
  );
  if (missing.length === 0) return undefined;
  const [first, ...others] = missing;
  return `the kernel's rules lack ${first?.cidr}${others.length > 0 ? ` and ${others.length} more CIDRs` : ""}`;
}

/** The status together with what the kernel holds. */
export function besideKernel(
  status: Status,
  look: { readonly held: readonly string[] } | { readonly unreadable: string },
): Status {
  if ("unreadable" in look) return { ...status, kernel: `not read: ${look.unreadable}` };
  const wrong = kernelDisagrees(status, look.held);
  if (wrong === undefined) return { ...status, kernel: "holds all CIDRs of the agent" };
  if (!status.inSync) return { ...status, kernel: wrong };
  return { ...status, inSync: false, why: `the agent says in sync, but ${wrong}`, kernel: wrong };
}

/** A CIDR of one address without its length, as some tools print it. */
function withoutPrefix(cidr: string): string {
  return cidr.replace(/\/(32|128)$/, "");
}
