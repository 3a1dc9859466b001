import type { Backend } from "../backends/backend.ts";
import { everyBackend, isOwnTable } from "../backends/choose.ts";
import { TABLE } from "../backends/ownership.ts";
import { inEachPlace, translates } from "../backends/removal.ts";
import { FAMILIES } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";

/**
 * Returns a note for each place in which another backend has rules of ipmasq or of an ip-masq-agent. They are also in
 * force until the agent removes them. A table that only drops leaks has no note: it belongs to the agent's backend.
 * Throws nothing.
 *
 * @param used the backend whose rules are compared
 */
export async function otherBackendNotes(used: Backend, { chain }: Policy): Promise<string[]> {
  const others = (await everyBackend(chain)).filter(({ place }) => place !== used.place);
  const { found } = await inEachPlace(others, FAMILIES, async (backend, families) => {
    if (!(await translates(backend, families))) return [];
    const lines = await backend.actual(families);
    return lines.length > 0 ? [noteOn(backend, lines)] : [];
  });
  return [...new Set(found)];
}

function noteOn(backend: Backend, lines: readonly string[]): string {
  const where = isOwnTable(backend) ? `table ${TABLE}` : chainText(lines);
  return `${where} (${backend.writer}) ${where.startsWith("chains ") ? "are" : "is"} also in force until an agent removes it; to compare with it, use --backend=${backend.name}`;
}

/** The chains that the rules are in, apart from POSTROUTING. */
function chainText(lines: readonly string[]): string {
  const chains = new Set(lines.flatMap(line => /(?:^| )-A (\S+)/.exec(line)?.[1] ?? []));
  chains.delete("POSTROUTING");
  return `${chains.size > 1 ? "chains" : "chain"} ${[...chains].join(", ") || "POSTROUTING"} of table nat`;
}
