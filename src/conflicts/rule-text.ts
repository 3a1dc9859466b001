import { formatPortRanges } from "../net/ports.ts";
import type { Condition } from "../net/trace.ts";
import type { Conflict } from "./conflict.ts";
import type { NatHook } from "./nat-hook.ts";
import type { Arrival } from "./walk.ts";

/** The packets that a rule is limited to by protocol, port and mark; undefined without such a limit. */
export function packetText(conditions: readonly Condition[]): string | undefined {
  const protocols = unique(
    conditions.flatMap(it => (it.on === "protocol" ? `${it.not ? "non-" : ""}${it.names.join(" or ")}` : [])),
  );
  const ports = unique(
    conditions.flatMap(it =>
      it.on === "port" ? `destination port ${it.not ? "other than " : ""}${formatPortRanges(it.ports)}` : [],
    ),
  );
  const details = [...ports, ...marksIn(conditions)];
  if (protocols.length + details.length === 0) return undefined;
  const packets = [...protocols, "packets"].join(" ");
  return details.length > 0 ? `${packets} with ${details.join(" and ")}` : packets;
}

/** The marked packets that a rule is limited to, by its own conditions or by earlier rules. */
export function markText({ chains }: NatHook, { conditions, way, rule }: Arrival): string {
  const own = marksIn(conditions);
  if (own.length > 0) return `packets with ${own.join(" and ")}`;
  const before = way.flatMap(chain => (chains.get(chain) ?? []).filter(it => it !== rule));
  const exempting = before.find(
    it => it.conditions.some(({ on }) => on === "mark") && ["return", "accept"].includes(it.action.does),
  );
  const rest = exempting?.conditions.map(it => (it.on === "mark" ? { ...it, not: !it.not } : it)) ?? [];
  const marks = marksIn(rest);
  return marks.length > 0 ? `packets with ${marks.join(" and ")}` : "marked packets";
}

function marksIn(conditions: readonly Condition[]): string[] {
  return unique(
    conditions.flatMap(it => {
      if (it.on !== "mark") return [];
      const bits = it.mask === 0xffffffff ? "" : `/${hex(it.mask)}`;
      // "Any of these bits" is printed as the bits.
      if (it.not && it.value === 0) return `mark ${hex(it.mask)}${bits}`;
      return `mark ${it.not ? "other than " : ""}${hex(it.value)}${bits}`;
    }),
  );
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}

function hex(number: number): string {
  return `0x${(number >>> 0).toString(16)}`;
}

/** The CIDRs that conditions require of sources or destinations, each once. */
export function cidrTexts(conditions: readonly Condition[], on: "source" | "destination"): string[] {
  return unique(conditions.flatMap(it => (it.on === on && !it.not ? it.cidrs.map(({ text }) => text) : [])));
}

/** A rule as a conflict names it. */
export function ruleFacts(
  hook: NatHook,
  { chain, rule }: Pick<Arrival, "chain" | "rule">,
): Pick<Conflict, "tool" | "family" | "table" | "chain" | "rule" | "priority"> {
  const { tool, family, table, priority } = hook;
  return { tool, family, table, chain, rule: rule.text, priority };
}
