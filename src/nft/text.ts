import type { Statement } from "./json.ts";
import type { Selector, Value } from "./json-match.ts";
import type { AddressSet, Chain, Element, Rule, Table } from "./table.ts";

/**
 * A table in nft's syntax, one line per element and rule, without counts and handles. Tables with equal text are
 * equivalent.
 */
export function tableText(table: Table): string[] {
  return [
    `table ${table.family} ${table.name} {`,
    ...indented([
      ...table.flags.map(flag => `flags ${flag}`),
      ...table.counters.map(({ name }) => `counter ${name} { }`),
      ...table.others.map(({ kind, name }) => `${kind} ${name} { }`),
      ...table.sets.flatMap(set => setText(set, table.family)),
      ...table.chains.flatMap(chainText),
    ]),
    "}",
  ];
}

/** A set in nft's syntax, declared by `typeof`; see version.ts for why. */
export function setText(set: AddressSet, family: string): string[] {
  return [
    `set ${set.name} {`,
    ...indented([
      `typeof ${family} ${set.of}`,
      ...(set.flags.length > 0 ? [`flags ${set.flags.join(",")}`] : []),
      ...(set.counting ? ["counter"] : []),
      ...(set.elements.length > 0
        ? ["elements = {", ...indented(set.elements.map(it => `${elementText(it)},`)), "}"]
        : []),
    ]),
    "}",
  ];
}

function chainText({ name, hook, rules }: Chain): string[] {
  return [
    `chain ${name} {`,
    ...indented([
      ...(hook ? [`type ${hook.type} hook ${hook.hook} priority ${hook.prio}; policy ${hook.policy};`] : []),
      ...rules.map(ruleText),
    ]),
    "}",
  ];
}

/** The rules of a table as `nft monitor` reports them, such as `rule ip nat POSTROUTING masquerade`. */
export function ruleLines({ family, name, chains }: Table): string[] {
  return chains.flatMap(chain =>
    chain.rules.map(rule => `rule ${family} ${name} ${chain.name} ${ruleText(rule)}`),
  );
}

function indented(lines: readonly string[]): string[] {
  return lines.map(line => `\t${line}`);
}

export function elementText({ value, comment }: Element): string {
  return `${value}${commentText(comment)}`;
}

/** A rule in nft's syntax, without its counts. */
export function ruleText({ expr, comment }: Rule): string {
  return expr.map(statementText).join(" ") + commentText(comment);
}

function commentText(comment: string | undefined): string {
  return comment === undefined ? "" : ` comment "${comment}"`;
}

function statementText(statement: Statement): string {
  if ("match" in statement) {
    const { op, left, right } = statement.match;
    const isMark = "&" in left || ("meta" in left && left.meta.key === "mark");
    if (isMark && typeof right === "number") return `${selectorText(left)} ${op} ${hex(right)}`;
    const value = ("fib" in left || "ct" in left) && typeof right === "string" ? right : valueText(right);
    return `${selectorText(left)} ${op === "==" ? "" : `${op} `}${value}`;
  }
  if ("counter" in statement) {
    return typeof statement.counter === "string" ? `counter name "${statement.counter}"` : "counter";
  }
  if ("jump" in statement) return `jump ${statement.jump.target}`;
  if ("goto" in statement) return `goto ${statement.goto.target}`;
  if ("return" in statement) return "return";
  if ("drop" in statement) return "drop";
  if ("masquerade" in statement) {
    const { port, flags = [] } = statement.masquerade ?? {};
    const to = port === undefined ? [] : [`to :${valueText(port)}`];
    return ["masquerade", ...to, ...flags].join(" ");
  }
  if ("snat" in statement) {
    const { addr: of, port, flags = [] } = statement.snat;
    const addr = typeof of === "string" ? of : selectorText(of);
    const to = port === undefined ? addr : `${addr.includes(":") ? `[${addr}]` : addr}:${valueText(port)}`;
    return ["snat to", to, ...flags].join(" ");
  }
  return statement.unknown;
}

function selectorText(selector: Selector): string {
  if ("&" in selector) {
    const [of, mask] = selector["&"];
    return `${selectorText(of)} & ${hex(mask)}`;
  }
  if ("payload" in selector) return `${selector.payload.protocol} ${selector.payload.field}`;
  // nft lists and accepts this key without the word meta.
  if ("meta" in selector) return selector.meta.key === "oifname" ? "oifname" : `meta ${selector.meta.key}`;
  if ("ct" in selector) return `ct ${selector.ct.key}`;
  if ("rt" in selector) return `rt ${selector.rt.key}`;
  if ("fib" in selector) return `fib ${selector.fib.flags.join(" . ")} ${selector.fib.result}`;
  if ("numgen" in selector) return `numgen ${selector.numgen.mode} mod ${selector.numgen.mod}`;
  return selector.unknown;
}

function hex(bits: number): string {
  return `0x${bits.toString(16)}`;
}

function valueText(value: Value): string {
  if (typeof value === "number") return `${value}`;
  if (typeof value === "boolean") return value ? "exists" : "missing";
  if (typeof value === "string") return value.startsWith("@") ? value : `"${value}"`;
  if ("prefix" in value) return `${value.prefix.addr}/${value.prefix.len}`;
  if ("range" in value) return value.range.join("-");
  if ("set" in value) return `{ ${value.set.map(memberText).join(", ")} }`;
  return value.unknown;
}

/** nft lists members of an anonymous set without quotes. */
function memberText(value: Exclude<Value, { set: unknown }>): string {
  return typeof value === "string" ? value : valueText(value);
}
