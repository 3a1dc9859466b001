import { Cidr } from "../../net/cidr.ts";
import type { Action, Condition, KernelRule, KernelRules } from "../rules.ts";
import type { Selector, Statement, Value } from "./json.ts";
import type { Rule, Table } from "./table.ts";
import { ruleText } from "./text.ts";

/** A table as rules that can be followed, from its base chain at postrouting on. One that is dormant has none. */
export function kernelRules({ family, flags, sets, chains }: Omit<Table, "others">): KernelRules {
  const byName = new Map(sets.map(set => [set.name, set]));
  const blocks = (name: string) =>
    byName.get(name)?.elements.flatMap(({ value }) => (value instanceof Cidr ? value : []));
  const base = chains.find(({ hook }) => hook?.hook === "postrouting");
  const awake = flags.includes("dormant") ? [] : chains;
  // nft 1.0.6 prints other flags as one that is not there.
  const odd = flags.filter(flag => flag !== "dormant").map(flag => opaque(`flags ${flag}`));
  return {
    family,
    base: base?.name ?? "",
    chains: new Map(
      awake.map(({ name, hook, rules }) => [
        name,
        [
          ...odd,
          ...rules.map(rule => kernelRule(rule, blocks)),
          ...(hook && hook.policy !== "accept" ? [opaque(`policy ${hook.policy}`)] : []),
        ],
      ]),
    ),
  };
}

/** What is no rule but decides like one, in a way that is not followed. */
function opaque(text: string): KernelRule {
  return { text, conditions: [], action: { does: "unknown" } };
}

/** The blocks of a set, if all of it is blocks. */
export type Blocks = (set: string) => readonly Cidr[] | undefined;

function kernelRule(rule: Rule, blocks: Blocks): KernelRule {
  const { conditions, action } = meaningOf(rule.expr, blocks);
  return { text: ruleText(rule), conditions, action };
}

/** What statements mean. One that is not known may be a condition of those behind it. */
export function meaningOf(
  statements: readonly Statement[],
  blocks: Blocks,
): Pick<KernelRule, "conditions" | "action"> {
  const conditions: Condition[] = [];
  for (const it of statements) {
    if ("match" in it) conditions.push(condition(it.match, blocks));
    else if ("unknown" in it && !IDLE.test(it.unknown)) {
      const known = ENDS.find(([begin]) => it.unknown.startsWith(begin))?.[1];
      if (known) return { conditions, action: { does: known } };
      conditions.push({ on: "unknown" });
    } else if (!("counter" in it) && !("unknown" in it)) return { conditions, action: actionOf(it) };
  }
  const odd = conditions.some(it => it.on === "unknown") && statements.some(it => "unknown" in it);
  return { conditions, action: { does: odd ? "unknown" : "nothing" } };
}

/** Statements that neither match nor end: they count, log, or mark. */
const IDLE = /^\{"(log|mangle|quota|notrack)":/;

const ENDS = [
  ['{"accept":', "accept"],
  ['{"drop":', "accept"],
  ['{"reject":', "accept"],
  ['{"snat":', "snat"],
] as const;

function actionOf(
  statement: Exclude<Statement, { match: unknown } | { counter: unknown } | { unknown: string }>,
): Action {
  if ("masquerade" in statement) return { does: "masquerade" };
  if ("return" in statement) return { does: "return" };
  if ("jump" in statement) return { does: "jump", to: statement.jump.target };
  return { does: "goto", to: statement.goto.target };
}

type Match = Extract<Statement, { match: unknown }>["match"];

function condition({ op, left, right }: Match, blocks: Blocks): Condition {
  if ("numgen" in left) return { on: "chance" };
  if (op !== "==" && op !== "!=") return { on: "unknown" };
  return compared(left, right, op === "!=", blocks) ?? { on: "unknown" };
}

function compared(left: Selector, right: Value, not: boolean, blocks: Blocks): Condition | undefined {
  if ("payload" in left && (left.payload.field === "daddr" || left.payload.field === "saddr")) {
    const cidrs = cidrsOf(right, blocks);
    return cidrs && { on: left.payload.field === "daddr" ? "destination" : "source", not, cidrs };
  }
  if ("fib" in left && left.fib.result === "type" && left.fib.flags.join() === "daddr") {
    const on = DESTINATION_TYPES.find(it => it === right);
    return on && { on, not };
  }
  if ("rt" in left && left.rt.key === "ipsec" && typeof right === "boolean") {
    return { on: "ipsec", not: right === not };
  }
  if ("meta" in left && (left.meta.key === "oifname" || left.meta.key === "l4proto")) {
    const names = membersOf(right);
    if (!names.every(it => typeof it === "string")) return undefined;
    return { on: left.meta.key === "oifname" ? "out" : "protocol", not, names };
  }
  return undefined;
}

const DESTINATION_TYPES = ["local", "broadcast", "multicast"] as const;

function membersOf(value: Value): readonly Value[] {
  return typeof value === "object" && "set" in value ? value.set : [value];
}

function cidrsOf(value: Value, blocks: Blocks): readonly Cidr[] | undefined {
  if (typeof value === "string" && value.startsWith("@")) return blocks(value.slice(1));
  const cidrs = membersOf(value).map(it => {
    if (typeof it === "string") return Cidr.parse(`${it}/${it.includes(":") ? 128 : 32}`);
    if (typeof it === "object" && "prefix" in it) return Cidr.parse(`${it.prefix.addr}/${it.prefix.len}`);
    return undefined;
  });
  const good = cidrs.filter(it => it instanceof Cidr);
  return good.length === cidrs.length ? good : undefined;
}
