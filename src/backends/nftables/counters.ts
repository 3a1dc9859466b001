import { Cidr } from "../../net/cidr.ts";
import type { Count } from "../../nft/json.ts";
import type { AddressSet, Rule, Table } from "../../nft/table.ts";
import type { Counter } from "../backend.ts";
import { COMMENT } from "../ownership.ts";
import { OUTBOUND } from "./ruleset.ts";

const NONE: Count = { packets: 0, bytes: 0 };

/**
 * The counters of a table. A CIDR is counted by its set element, or by the rule if elements have no counters. Other
 * connections are counted by the rule that leads to masquerading, or by the masquerading rules if there is no such
 * rule. A table that was not read from the kernel has zero counts.
 */
export function counters({ family, handle, sets, chains }: Table): Counter[] {
  const byName = new Map(sets.map(set => [set.name, set]));
  const found = new Map<string, Counter>();
  const add = (
    verdict: Counter["verdict"],
    cidr: Cidr | undefined,
    { packets, bytes }: Count,
    by: AddressSet | Rule,
  ) => {
    const key = `${verdict} ${cidr?.text ?? ""}`;
    const before = found.get(key) ?? { connections: 0, bytes: 0, identity: `${handle ?? ""}` };
    found.set(key, {
      ...{ family, verdict, cidr },
      connections: before.connections + packets,
      bytes: before.bytes + bytes,
      ...(by.handle !== undefined && { identity: `${before.identity ?? ""} ${by.handle}` }),
    });
  };
  const seen = new Set<AddressSet>();
  for (const { name, hook, rules } of chains) {
    if (hook) continue;
    for (const rule of rules.filter(isOurs)) {
      const { verdict, counted, set: setName } = decisionOf(rule);
      if (!verdict) continue;
      const set = byName.get(setName ?? "");
      if (set?.counting && !seen.has(set)) {
        seen.add(set);
        for (const { value, count = NONE } of set.elements)
          if (value instanceof Cidr) add(verdict, value, count, set);
      } else if (counted && !isCountedBefore(rule, name)) add(verdict, undefined, counted, rule);
    }
  }
  return [...found.values()];
}

function isOurs({ comment = "" }: Rule): boolean {
  return comment.startsWith(COMMENT);
}

/** Whether the rules that lead to its chain count the same connections. */
function isCountedBefore({ expr }: Rule, chain: string): boolean {
  return chain === OUTBOUND && expr.some(it => "masquerade" in it);
}

/** The verdict of a rule, its count, and the set of its destinations. */
function decisionOf({ expr }: Rule): { verdict?: Counter["verdict"]; counted?: Count; set?: string } {
  const keeps = expr.some(it => "return" in it);
  const masquerades = expr.some(it => "masquerade" in it || "goto" in it);
  if (!keeps && !masquerades) return {};
  const [set] = expr.flatMap(it => {
    if (!("match" in it) || !("payload" in it.match.left)) return [];
    const { left, right } = it.match;
    return left.payload.field === "daddr" && typeof right === "string" ? [right.slice(1)] : [];
  });
  const [counted] = expr.flatMap(it => ("counter" in it ? [it.counter ?? NONE] : []));
  return {
    verdict: keeps ? "keep" : "masquerade",
    ...(counted && { counted }),
    ...(set !== undefined && { set }),
  };
}
