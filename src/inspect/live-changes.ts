import { type Entry, isEnded } from "../conntrack/entry.ts";
import { readEntries } from "../conntrack/read.ts";
import { type AddressValue, Cidr, FAMILIES, type Family } from "../net/cidr.ts";
import { Pieces } from "../net/pieces.ts";
import { addressOf } from "../net/ranges.ts";
import type { Policy } from "../policy/policy.ts";
import { isInterfaceIn } from "./interface-set.ts";
import { judgeFor } from "./live-connections.ts";
import { type Routes, readRoutes } from "./routes.ts";
import type { VerdictChange } from "./verdict-diff.ts";

/**
 * Counts the node's live connections that each change of a verdict concerns. A connection by an unknown interface
 * counts only if the change concerns all interfaces. Throws ProgramError if the conntrack table cannot be read.
 *
 * @param policies the policies before and after
 */
export async function liveChanges(
  changes: readonly VerdictChange[],
  policies: readonly Policy[],
): Promise<readonly number[]> {
  const judges = await Promise.all(policies.map(policy => judgeFor(policy, [])));
  const routes = await readRoutes();
  const tests = changes.map(change => concerns(change, routes));
  const counts = changes.map(() => 0);
  await readEntries(FAMILIES, entry => {
    if (isEnded(entry) || judges.some(judge => "exempt" in (judge.judge(entry) ?? {}))) return;
    const at = tests.findIndex(test => test(entry));
    if (at >= 0) counts[at] = (counts[at] ?? 0) + 1;
  });
  return counts;
}

/** Whether a change concerns the connection of an entry. */
function concerns({ family, to, from, by }: VerdictChange, routes: Routes): (entry: Entry) => boolean {
  const [isTo, isFrom] = [memberOf(family, to), memberOf(family, from)];
  const isAny = by.some(({ name, except }) => name === "*" && except.length === 0);
  const leavesBy = (destination: AddressValue) => {
    const name = routes.interfaceOf(addressOf(family, destination));
    return name !== undefined && by.some(it => isInterfaceIn(it, name));
  };
  return ({ family: its, original, reply }) =>
    its === family && isTo(reply.source) && isFrom(original.source) && (isAny || leavesBy(reply.source));
}

/** Whether an address is in one of some disjoint CIDRs. */
function memberOf(family: Family, texts: readonly string[]): (address: AddressValue) => boolean {
  const cidrs = texts.map(Cidr.literal);
  const pieces = new Pieces(family, cidrs);
  const inside = new Set(cidrs.map(({ first }) => pieces.at(first)));
  return address => inside.has(pieces.at(address));
}
