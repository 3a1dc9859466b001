import type { Backend } from "../backends/backend.ts";
import type { Policy } from "../policy/policy.ts";
import { HOST, type Host } from "../system/host.ts";
import type { Conflict } from "./conflict.ts";
import { readNatHooks } from "./foreign.ts";
import { isOurs, judge } from "./judge.ts";

/** The conflicts of foreign NAT rules with a policy, as of one look. */
export interface Findings {
  readonly conflicts: readonly Conflict[];
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
  programs: Host = HOST,
): Promise<Findings> {
  const { hooks, unread, visited } = await readNatHooks({ programs, skip: isOurs(policy, backend) });
  const cut = new Set<string>();
  const found = judge(hooks, policy, backend, ({ family, table, base }) =>
    cut.add(`chain ${base} of table ${family} ${table}: its rules branch too often to follow all of them`),
  );
  return { conflicts: found, unread: [...unread, ...cut], visited };
}
