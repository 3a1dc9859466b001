import type { Family } from "../../net/cidr.ts";
import type { Mark } from "../../net/mark.ts";
import { optionOf } from "../../xtables/rule.ts";
import { netmap } from "../../xtables/support.ts";
import { helperChains } from "../ownership.ts";
import { commented, foreignMarked } from "./enforce.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/**
 * The ruleset that binds kept connections to their own address, so that a later NAT chain cannot change it. Needed
 * while nft crashes and cannot remove our own table.
 *
 * @param marks the marks of packets that foreign rules masquerade
 * @param hasChecks whether the first chain checks sources or interfaces
 */
export function enforceKept(
  { chains, ...ruleset }: Ruleset,
  marks: readonly Mark[],
  hasChecks: boolean,
): Ruleset {
  const { family } = ruleset;
  const [, , ...enforcing] = helperChains(chains[0]?.name ?? "");
  const [first, ...others] = chains.map(it => (enforcing.includes(it.name) ? it : boundIn(it, family)));
  if (!first) return { ...ruleset, chains };
  const rest = hasChecks ? [commented("sources and interfaces that are kept", [], netmap(family))] : [];
  return {
    ...ruleset,
    chains: [{ name: first.name, rules: [...foreignMarked(marks), ...first.rules, ...rest] }, ...others],
  };
}

function boundIn({ name, rules }: Chain, family: Family): Chain {
  const bound = rules.map(rule =>
    optionOf(rule, "-j") === "RETURN" ? [...rule.slice(0, -2), ...netmap(family)] : rule,
  );
  return { name, rules: bound };
}
