import { kernelRule } from "../../src/backends/iptables/kernel-rules.ts";
import { parseRule } from "../../src/backends/iptables/rule.ts";
import type { KernelRule } from "../../src/backends/rules.ts";
import type { NatHook } from "../../src/inspect/foreign.ts";

/** Table `nat` with rules as iptables-save prints them, a line each; `about` is what else differs. */
export function natHook(lines: string, about: Partial<NatHook> = {}): NatHook {
  const chains = new Map<string, KernelRule[]>([["POSTROUTING", []]]);
  for (const [, chain = "", words = ""] of lines.matchAll(/^\s*-A (\S+) (.*)$/gm)) {
    const rules = chains.get(chain) ?? [];
    chains.set(chain, [...rules, kernelRule(chain, parseRule(words))]);
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
