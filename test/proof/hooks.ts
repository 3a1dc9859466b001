import { ruleset as iptablesRuleset } from "../../src/backends/iptables/ruleset.ts";
import { ruleset as nftablesRuleset } from "../../src/backends/nftables/ruleset.ts";
import type { Family } from "../../src/net/cidr.ts";
import type { TraceableRule } from "../../src/net/trace.ts";
import { traceableRuleset } from "../../src/nft/traceable.ts";
import type { Policy } from "../../src/policy/policy.ts";
import type { Hook } from "../../src/proof/kernel-diagram.ts";
import { parseRule, type Rule } from "../../src/xtables/rule.ts";
import { traceableRule } from "../../src/xtables/traceable.ts";

/** How our rules and foreign rules of table `nat` are combined. */
export interface Arrangement {
  readonly name: string;
  /** The hooks with our rules for a policy, and with foreign rules before and after ours. */
  hooks(policy: Policy, family: Family, before: string, after: string): Hook[];
  /** The hooks with only our rules. */
  own(policy: Policy, family: Family): Hook[];
}

const POSTROUTING = "POSTROUTING";

/** One for each backend. Rules are lines of iptables-save. */
export const ARRANGEMENTS: readonly Arrangement[] = [
  {
    name: "nftables",
    hooks: (policy, family, before, after) => [
      nat(before, [], 100),
      ...ownTable(policy, family),
      nat(after, [], 102),
    ],
    own: ownTable,
  },
  {
    name: "iptables",
    hooks: (policy, family, before, after) => {
      const own = ownChains(policy, family);
      const lines = [...own.first, ...linesOf(before), ...own.jump, ...linesOf(after)];
      return [natHook(lines, own.chains, 100, policy)];
    },
    own: (policy, family) => {
      const own = ownChains(policy, family);
      return [natHook([...own.first, ...own.jump], own.chains, 100, policy)];
    },
  },
];

function ownTable(policy: Policy, family: Family): Hook[] {
  return nftablesRuleset(policy)
    .filter(it => it.family === family)
    .flatMap(table => {
      const { chains } = traceableRuleset(table);
      return table.chains.flatMap(({ name, hook }) =>
        hook?.type === "nat" ? [{ base: name, chains, priority: hook.prio, isOwn: () => true }] : [],
      );
    });
}

type Line = readonly [chain: string, rule: Rule];

interface OwnChains {
  readonly first: readonly Line[];
  readonly jump: readonly Line[];
  readonly chains: ReadonlyMap<string, readonly Rule[]>;
}

function ownChains(policy: Policy, family: Family): OwnChains {
  const rulesets = policy.families.filter(it => it.family === family).map(it => iptablesRuleset(policy, it));
  return {
    first: rulesets.flatMap(({ first }) => (first ? [[POSTROUTING, first] as const] : [])),
    jump: rulesets.map(({ jump }) => [POSTROUTING, jump]),
    chains: new Map(
      rulesets.flatMap(({ chains }) => chains.map(({ name, rules }) => [name, rules] as const)),
    ),
  };
}

/** The lines `-A CHAIN RULE` of a text. */
function linesOf(text: string): Line[] {
  return Array.from(
    text.matchAll(/^\s*-A (\S+) (.*)$/gm),
    ([, chain = "", words = ""]): Line => [chain, parseRule(words)],
  );
}

/** Table `nat` with lines of iptables-save. */
export function nat(text: string, more: readonly Line[] = [], priority = 100): Hook {
  return natHook([...linesOf(text), ...more], new Map(), priority, undefined);
}

function natHook(
  lines: readonly Line[],
  own: OwnChains["chains"],
  priority: number,
  policy: Policy | undefined,
): Hook {
  const chains = new Map<string, TraceableRule[]>([[POSTROUTING, []]]);
  for (const [name, rules] of own)
    chains.set(
      name,
      rules.map(rule => traceableRule(name, rule)),
    );
  for (const [chain, rule] of lines) {
    const rules = chains.get(chain) ?? [];
    chains.set(chain, [...rules, traceableRule(chain, rule)]);
  }
  const prefix = policy?.chain.slice(0, 24);
  const isOwn = (chain: string) =>
    prefix !== undefined && chain.toUpperCase().startsWith(prefix.toUpperCase());
  return { base: POSTROUTING, chains, priority, isOwn };
}
