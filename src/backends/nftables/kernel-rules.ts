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

type Blocks = (set: string) => readonly Cidr[] | undefined;

function kernelRule(rule: Rule, blocks: Blocks): KernelRule {
  const conditions = rule.expr.flatMap(it => ("match" in it ? [condition(it.match, blocks)] : []));
  return { text: ruleText(rule), conditions, action: actionOf(rule.expr) };
}

function actionOf(statements: readonly Statement[]): Action {
  for (const it of statements) {
    if ("match" in it || "counter" in it) continue;
    if ("masquerade" in it) return { does: "masquerade" };
    if ("return" in it) return { does: "return" };
    if ("jump" in it) return { does: "jump", to: it.jump.target };
    if ("goto" in it) return { does: "goto", to: it.goto.target };
    return { does: it.unknown === '{"accept":null}' ? "accept" : "unknown" };
  }
  return { does: "nothing" };
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
  if ("fib" in left && left.fib.flags.join() === "daddr" && right === "local") return { on: "local", not };
  if ("meta" in left && (left.meta.key === "oifname" || left.meta.key === "l4proto")) {
    const names =
      typeof right === "string"
        ? [right]
        : typeof right === "object" && "set" in right
          ? right.set
          : undefined;
    return names && { on: left.meta.key === "oifname" ? "out" : "protocol", not, names };
  }
  return undefined;
}

function cidrsOf(value: Value, blocks: Blocks): readonly Cidr[] | undefined {
  if (typeof value === "string" && value.startsWith("@")) return blocks(value.slice(1));
  const texts =
    typeof value === "string"
      ? [value]
      : typeof value === "object" && "prefix" in value
        ? [`${value.prefix.addr}/${value.prefix.len}`]
        : typeof value === "object" && "set" in value
          ? value.set
          : [];
  const cidrs = texts.map(text =>
    Cidr.parse(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`),
  );
  const good = cidrs.filter(it => it instanceof Cidr);
  return good.length === cidrs.length && good.length > 0 ? good : undefined;
}
