import { Cidr } from "../../net/cidr.ts";
import type { Count } from "../../nft/json.ts";
import type { Rule, Table } from "../../nft/table.ts";
import type { Counter } from "../backend.ts";
import { COMMENT } from "../ownership.ts";
import { listOfSet } from "./generations.ts";
import { LEAKS } from "./leaks.ts";

const NONE: Count = { packets: 0, bytes: 0 };

/**
 * The counters of a table. A CIDR is counted by its set element, or by the rule if elements have no counters. Other
 * connections are counted by the named counter of the rules that masquerade them.
 *
 * A set that was replaced still has its counts: it has its own counters, with the identity of the set. No rule may refer
 * to it, so its name decides about the verdict.
 */
export function counters({ family, handle, sets, chains, counters: named }: Table): Counter[] {
  const rules = chains.filter(({ hook }) => !hook).flatMap(({ rules }) => rules.filter(isOurs));
  const found: Counter[] = [];
  const seen = new Set<string>();
  for (const rule of rules) {
    const { verdict, counter } = decisionOf(rule);
    if (!verdict) continue;
    const count = named.find(({ name }) => name === counter);
    if (!count || seen.has(count.name)) continue;
    seen.add(count.name);
    found.push({ family, verdict, cidr: undefined, ...counted(count.count), ...identity(count) });
  }
  const leaks = named.find(({ name }) => name === LEAKS);
  if (leaks)
    found.push({ family, verdict: "drop", cidr: undefined, ...counted(leaks.count), ...identity(leaks) });
  for (const set of sets) {
    const list = listOfSet(set.name);
    if (list?.of !== "destination" || !set.counting) continue;
    const { elements, counts = [] } = set;
    const id = identity(set);
    for (const [i, { value }] of elements.entries()) {
      if (!(value instanceof Cidr)) continue;
      const [connections = 0, bytes = 0] = [counts[2 * i], counts[2 * i + 1]];
      found.push({ family, verdict: list.effect, cidr: value, connections, bytes, ...id });
    }
  }
  return found;

  function identity(object: { readonly name: string; readonly handle?: number }): Pick<Counter, "identity"> {
    if (handle === undefined || object.handle === undefined) return {};
    return { identity: `${handle} ${object.handle}` };
  }
}

function counted({ packets, bytes } = NONE): Pick<Counter, "connections" | "bytes"> {
  return { connections: packets, bytes };
}

function isOurs({ comment = "" }: Rule): boolean {
  return comment.startsWith(COMMENT);
}

/** The verdict of a rule, and the name of its counter. */
function decisionOf({ expr }: Rule): { verdict?: Counter["verdict"]; counter?: string } {
  const keeps = expr.some(it => "return" in it);
  const masquerades = expr.some(it => "masquerade" in it || "snat" in it || "goto" in it);
  if (!keeps && !masquerades) return {};
  const [counter] = expr.flatMap(it =>
    "counter" in it && typeof it.counter === "string" ? [it.counter] : [],
  );
  return { verdict: keeps ? "keep" : "masquerade", ...(counter !== undefined && { counter }) };
}
