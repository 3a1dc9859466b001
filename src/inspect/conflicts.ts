import type { Backend } from "../backends/backend.ts";
import { PROGRAMS, type Programs } from "../backends/iptables/programs.ts";
import type { Policy } from "../policy/policy.ts";
import { type Competing, competing, isOurs } from "./competing.ts";
import { readNatHooks } from "./foreign.ts";

/** What foreign NAT rules do to a policy, as of one look. */
export interface Conflicts {
  readonly competing: readonly Competing[];
  /** A sentence for each chain or table that could not be read. */
  readonly unread: readonly string[];
  /** Chains on whose rules the answer depends, as in `ip nat POSTROUTING`. */
  readonly visited: ReadonlySet<string>;
}

/**
 * Reads the foreign NAT rules and judges them. Takes 4 s at most. Throws nothing.
 *
 * @param backend of ours; undefined if none is chosen
 */
export async function findConflicts(
  policy: Policy,
  backend: Backend["name"] | undefined,
  programs: Programs = PROGRAMS,
): Promise<Conflicts> {
  const { hooks, unread, visited } = await readNatHooks({ programs, skip: isOurs(policy, backend) });
  return { competing: competing(hooks, policy, backend), unread, visited };
}
