import { networkInterfaces } from "node:os";
import type { Backend } from "../backends/backend.ts";
import type { Conflict } from "../conflicts/conflict.ts";
import { findConflicts } from "../conflicts/find.ts";
import type { Entry } from "../conntrack/entry.ts";
import { readEntries } from "../conntrack/read.ts";
import { Cidr, withLength } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";
import { ConnectionJudge } from "./connection-judge.ts";
import type { Judgement } from "./judgement.ts";
import { readAddressTypes } from "./local-routes.ts";
import { nodeAddresses } from "./node-addresses.ts";
import { readRoutes } from "./routes.ts";

/** Receives a live connection; the entry is valid until the call returns. */
export type Visit = (entry: Entry, judgement: Judgement) => void;

/**
 * Prepares to judge the node's live connections by a policy: reads addresses, routes and foreign rules.
 *
 * @param conflicts the conflicts of foreign rules with the policy
 */
export async function judgeFor(policy: Policy, conflicts: readonly Conflict[]): Promise<ConnectionJudge> {
  const [types, routes] = await Promise.all([
    readAddressTypes(),
    policy.outputInterfaces ? readRoutes() : undefined,
  ]);
  const local =
    types.local ?? nodeAddresses(networkInterfaces()).map(it => Cidr.literal(withLength(it.address.text)));
  const typeCidrs = [...local, ...(types.broadcast ?? [])];
  return new ConnectionJudge(policy, { types, typeCidrs, routes, conflicts });
}

/** A judge that knows the foreign rules. */
export interface InformedJudge {
  readonly judge: ConnectionJudge;
  /**
   * A sentence for each chain or table of foreign rules that was not read. Connections that these rules masquerade or
   * exempt count as stale.
   */
  readonly unread: readonly string[];
}

/** The same, with a new look at the foreign rules. */
export async function judgeWithConflicts(
  policy: Policy,
  backend: Backend["name"] | undefined,
): Promise<InformedJudge> {
  const { conflicts, unread } = await findConflicts(policy, backend);
  return { judge: await judgeFor(policy, conflicts), unread };
}

/** Reads and judges the node's live connections. Throws ProgramError if the table cannot be read. */
export async function eachConnection(policy: Policy, judge: ConnectionJudge, visit: Visit): Promise<void> {
  const families = policy.families.map(({ family }) => family);
  await readEntries(families, entry => {
    const judgement = judge.judge(entry);
    if (judgement) visit(entry, judgement);
  });
}

/**
 * Reads the live connections that contradict the policy.
 *
 * @returns the number of the others that contradict it because of foreign rules
 * @throws ProgramError if the table cannot be read
 */
export async function eachStale(
  policy: Policy,
  judge: ConnectionJudge,
  visit: (entry: Entry) => void,
): Promise<number> {
  let overruled = 0;
  await eachConnection(policy, judge, (entry, judgement) => {
    if ("exempt" in judgement) return;
    if (judgement.outcome === "stale") visit(entry);
    if (judgement.outcome === "overruled") overruled++;
  });
  return overruled;
}

/** The number of live connections that contradict the policy. Throws ProgramError if the table cannot be read. */
export async function staleCount(policy: Policy, judge: ConnectionJudge): Promise<number> {
  let count = 0;
  await eachStale(policy, judge, () => count++);
  return count;
}
