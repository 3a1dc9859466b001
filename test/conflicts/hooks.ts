import type { NatHook } from "../../src/conflicts/nat-hook.ts";
import type { TraceableRule } from "../../src/net/trace.ts";
import { parseRule } from "../../src/xtables/rule.ts";
import { traceableRule } from "../../src/xtables/traceable.ts";

/** Table `nat` with rules as iptables-save prints them, one per line; `about` overrides other properties. */
export function natHook(lines: string, about: Partial<NatHook> = {}): NatHook {
  const chains = new Map<string, TraceableRule[]>([["POSTROUTING", []]]);
  for (const [, chain = "", words = ""] of lines.matchAll(/^\s*-A (\S+) (.*)$/gm)) {
    const rules = chains.get(chain) ?? [];
    chains.set(chain, [...rules, traceableRule(chain, parseRule(words))]);
  }
  return {
    tool: "iptables-nft",
    family: "ip",
    table: "nat",
    base: "POSTROUTING",
    priority: 100,
    registeredAfterUs: true,
    chains,
    ...about,
  };
}
