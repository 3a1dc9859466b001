import { Cidr, type Family, parseAddress, withLength } from "../net/cidr.ts";
import { WHOLE_MARK } from "../net/mark.ts";
import type { PortRange } from "../net/ports.ts";
import { cidrsBetween } from "../net/ranges.ts";
import {
  type Action,
  type Condition,
  DESTINATION_TYPES,
  type TraceableRule,
  type TraceableRuleset,
} from "../net/trace.ts";
import type { Statement } from "./json.ts";
import type { Selector, Value } from "./json-match.ts";
import type { Rule, Table } from "./table.ts";
import { ruleText } from "./text.ts";

/**
 * A table as rules to trace packets through, starting in its NAT chains at postrouting. A dormant table has no rules.
 */
export function traceableRuleset({
  family,
  flags,
  sets,
  chains,
}: Omit<Table, "name" | "counters" | "others">): TraceableRuleset {
  const byName = new Map(sets.map(set => [set.name, set]));
  const blocks = (name: string) =>
    byName.get(name)?.elements.flatMap(({ value }) => (value instanceof Cidr ? value : []));
  const [base = "", ...later] = chains
    .flatMap(({ name, hook }) =>
      hook?.hook === "postrouting" && hook.type === "nat" ? { name, ...hook } : [],
    )
    .toSorted((a, b) => a.prio - b.prio)
    .map(({ name }) => name);
  const awake = flags.includes("dormant") ? [] : chains;
  // nft 1.0.6 prints other flags wrongly, so their effect is not known.
  const odd = flags.filter(flag => flag !== "dormant").map(flag => opaque(`flags ${flag}`));
  return {
    family,
    base,
    later,
    chains: new Map(
      awake.map(({ name, hook, rules }) => [
        name,
        [
          ...odd,
          ...rules.map(rule => traceableRule(rule, blocks)),
          ...(hook && hook.policy !== "accept" ? [opaque(`policy ${hook.policy}`)] : []),
        ],
      ]),
    ),
  };
}

/** A property of a table or chain that may change verdicts, as a rule with an unknown effect. */
function opaque(text: string): TraceableRule {
  return { text, conditions: [], action: { does: "unknown" } };
}

/** The CIDRs of a set; undefined if it has other elements. */
export type Blocks = (set: string) => readonly Cidr[] | undefined;

function traceableRule(rule: Rule, blocks: Blocks): TraceableRule {
  return { text: ruleText(rule), ...meaningOf(rule.expr, blocks) };
}

/** The conditions and the action of a rule. An unknown statement may be a condition for the statements after it. */
export function meaningOf(statements: readonly Statement[], blocks: Blocks): Omit<TraceableRule, "text"> {
  const marks = statements.some(it => "unknown" in it && MARKS.test(it.unknown));
  return { ...effectOf(statements, blocks), ...(marks && { marks }) };
}

function effectOf(
  statements: readonly Statement[],
  blocks: Blocks,
): Pick<TraceableRule, "conditions" | "action"> {
  const conditions: Condition[] = [];
  for (const it of statements) {
    if ("match" in it) conditions.push(...conditionsOf(it.match, blocks));
    else if ("unknown" in it && !IDLE.test(it.unknown)) {
      const known = ENDS.find(([said]) => said.test(it.unknown))?.[1];
      if (known) return { conditions, action: { does: known } };
      conditions.push({ on: "unknown" });
    } else if (!("counter" in it) && !("unknown" in it)) return { conditions, action: actionOf(it) };
  }
  const odd = conditions.some(it => it.on === "unknown") && statements.some(it => "unknown" in it);
  return { conditions, action: { does: odd ? "unknown" : "nothing" } };
}

/** Statements that change the packet's mark. */
const MARKS =
  /^\{"mangle":\{"key":\{"meta":\{"key":"mark"|^\{"xt":\{"type":"target","name":"(MARK|CONNMARK)"/;

/**
 * Statements that neither match nor decide, such as `log`. They may set metadata, but not addresses. nft shows
 * extensions of iptables as `xt`.
 */
const IDLE =
  /^\{"(log|notrack)":|^\{"mangle":\{"key":\{"(meta|ct)":|^\{"xt":\{"type":"(match","name":"comment|target","name":"(LOG|MARK|TRACE))"/;

const ENDS = [
  [/^\{"(accept|drop|reject)":/, "accept"],
  [/^\{"snat":\{[^{}]*"addr":\{"payload":\{"protocol":"ip6?","field":"saddr"\}\}\}\}$/, "bind"],
  [/^\{"snat":/, "snat"],
  [/^\{"xt":\{"type":"target","name":"MASQUERADE"/, "masquerade"],
  [/^\{"xt":\{"type":"target","name":"(SNAT|NETMAP)"/, "snat"],
] as const;

function actionOf(
  statement: Exclude<Statement, { match: unknown } | { counter: unknown } | { unknown: string }>,
): Action {
  if ("masquerade" in statement) return { does: "masquerade" };
  if ("snat" in statement) return snatAction(statement.snat);
  if ("return" in statement) return { does: "return" };
  if ("drop" in statement) return { does: "accept" };
  if ("jump" in statement) return { does: "jump", to: statement.jump.target };
  return { does: "goto", to: statement.goto.target };
}

function snatAction({ addr, port }: Extract<Statement, { snat: unknown }>["snat"]): Action {
  if (typeof addr === "string") return { does: "snat", address: addr };
  return { does: addr.payload.field === "saddr" && port === undefined ? "bind" : "snat" };
}

type Match = Extract<Statement, { match: unknown }>["match"];

function conditionsOf(match: Match, blocks: Blocks): Condition[] {
  const { op, left, right } = match;
  if (op === "==" && right === "unicast" && "fib" in left && isDestinationType(left.fib)) {
    return DESTINATION_TYPES.map(on => ({ on, not: true }));
  }
  const protocol = portProtocol(left);
  if (protocol !== undefined) return portConditions(protocol, match);
  return [condition(match, blocks)];
}

/** The protocol whose destination port a selector reads, `th` for any; undefined for other selectors. */
function portProtocol(left: Selector): string | undefined {
  const [, protocol] =
    ("unknown" in left && /^\{"payload":\{"protocol":"(\w+)","field":"dport"\}\}$/.exec(left.unknown)) || [];
  return protocol;
}

function portConditions(protocol: string, { op, right }: Match): Condition[] {
  const ports = membersOf(right).map(portRange);
  const good = ports.filter(it => it !== undefined);
  if (good.length < ports.length || (op !== "==" && op !== "!=")) return [{ on: "unknown" }];
  return [
    ...(protocol === "th" ? [] : [{ on: "protocol", not: false, names: [protocol] } as const]),
    { on: "port", not: op === "!=", ports: good },
  ];
}

function portRange(value: Value): PortRange | undefined {
  if (typeof value === "number") return { first: value, last: value };
  if (typeof value !== "object" || !("range" in value)) return undefined;
  const [first, last] = value.range;
  return typeof first === "number" && typeof last === "number" ? { first, last } : undefined;
}

function isDestinationType({ result, flags }: { result: string; flags: readonly string[] }): boolean {
  return result === "type" && flags.join() === "daddr";
}

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
  if ("fib" in left && isDestinationType(left.fib)) {
    const on = [...DESTINATION_TYPES, "unicast" as const].find(it => it === right);
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
  if ("meta" in left && (left.meta.key === "nfproto" || left.meta.key === "protocol")) {
    const family = typeof right === "string" ? FAMILY_NAMES[right] : undefined;
    return family && { on: "family", not, family };
  }
  const mask = markMask(left);
  return mask !== undefined && typeof right === "number"
    ? { on: "mark", not, value: right, mask }
    : undefined;
}

/** The values of `meta nfproto` and `meta protocol`. */
const FAMILY_NAMES: Readonly<Record<string, Family>> = { ipv4: "ip", ip: "ip", ipv6: "ip6", ip6: "ip6" };

/** The bits of the packet's mark that are compared; undefined if the selector is not the mark. */
function markMask(left: Selector): number | undefined {
  if ("meta" in left) return left.meta.key === "mark" ? WHOLE_MARK : undefined;
  if (!("&" in left)) return undefined;
  const [of, mask] = left["&"];
  return of.meta.key === "mark" ? mask : undefined;
}

function membersOf(value: Value): readonly Value[] {
  return typeof value === "object" && "set" in value ? value.set : [value];
}

function cidrsOf(value: Value, blocks: Blocks): readonly Cidr[] | undefined {
  if (typeof value === "string" && value.startsWith("@")) return blocks(value.slice(1));
  const cidrs = membersOf(value).map(blocksOf);
  const good = cidrs.filter(it => it !== undefined);
  return good.length === cidrs.length ? good.flat() : undefined;
}

function blocksOf(value: Value): readonly Cidr[] | undefined {
  if (typeof value === "string") return parsed(withLength(value));
  if (typeof value !== "object") return undefined;
  if ("prefix" in value) return parsed(`${value.prefix.addr}/${value.prefix.len}`);
  if (!("range" in value)) return undefined;
  const [first, last] = value.range.map(it => parseAddress(`${it}`));
  if (!first || !last || "what" in first || "what" in last) return undefined;
  return cidrsBetween(first.family, first.value, last.value);
}

function parsed(text: string): readonly Cidr[] | undefined {
  const cidr = Cidr.parse(text);
  return cidr instanceof Cidr ? [cidr] : undefined;
}
