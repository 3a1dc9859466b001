import type { Backend } from "../backends/backend.ts";
import type { Policy } from "../policy/policy.ts";
import { HOST, type Host } from "../system/host.ts";
import type { Conflict } from "./conflict.ts";
import { running } from "./dormant.ts";
import { judge } from "./judge.ts";
import { isOurs } from "./own-rules.ts";
import { readNatHooks } from "./read.ts";

/** The result of one look at the foreign NAT rules. */
export interface Findings {
  readonly conflicts: readonly Conflict[];
  /** A sentence for each chain or table that was not read. */
  readonly unread: readonly string[];
  /** The chains that the conflicts depend on, as in `ip nat POSTROUTING`. */
  readonly visited: ReadonlySet<string>;
}

/**
 * Finds foreign NAT rules that conflict with a policy: reads them, follows connections through them, and judges the
 * rules that connections reach. Takes 4 s at most. Throws nothing.
 *
 * @param backend our backend; undefined if none is chosen
 */
export async function findConflicts(
  policy: Policy,
  backend: Backend["name"] | undefined,
  programs: Host = HOST,
): Promise<Findings> {
  const { hooks, unread, visited } = await readNatHooks({ programs, skip: isOurs(policy, backend) });
  const cut = new Set<string>();
  // Tables that are dormant stay in `visited`, because they may wake.
  const conflicts = judge(await running(hooks, programs), policy, backend, ({ family, table, base }) =>
    cut.add(`chain ${base} of table ${family} ${table}: its rules branch too often to follow all of them`),
  );
  return { conflicts, unread: [...unread, ...cut], visited };
}
