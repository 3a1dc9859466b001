import type { Family } from "../../net/cidr.ts";
import { optionOf, type Rule } from "../../xtables/rule.ts";
import { COMMENT } from "../ownership.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/**
 * Packets with one of these marks are masqueraded by kube-proxy (hairpin, NodePort) and by the CNI plugin portmap
 * (hostPort), with their default settings.
 */
const MARKS = ["0x4000/0x4000", "0x2000/0x2000"];

/**
 * The ruleset that binds kept connections to their own address, so that a later NAT chain cannot change it. Needed
 * while nft crashes and cannot remove our own table. NETMAP to all addresses maps each address to itself and keeps
 * ports (measured with both variants, iptables 1.8.9, kernel 6.18).
 *
 * @param hasChecks whether the first chain checks sources or interfaces
 */
export function enforceKept({ family, jump, chains }: Ruleset, hasChecks: boolean): Ruleset {
  const [first, ...others] = chains.map(chain => boundIn(chain, family));
  if (!first) return { family, jump, chains };
  const marked = MARKS.map(mark =>
    commented(
      "packets that foreign rules masquerade by their mark",
      ["-m", "mark", "--mark", mark],
      ["-j", "RETURN"],
    ),
  );
  const rest = hasChecks ? [commented("sources and interfaces that are kept", [], netmap(family))] : [];
  return {
    family,
    jump,
    chains: [{ name: first.name, rules: [...marked, ...first.rules, ...rest] }, ...others],
  };
}

function boundIn({ name, rules }: Chain, family: Family): Chain {
  const bound = rules.map(rule =>
    optionOf(rule, "-j") === "RETURN" ? [...rule.slice(0, -2), ...netmap(family)] : rule,
  );
  return { name, rules: bound };
}

function netmap(family: Family): Rule {
  return ["-j", "NETMAP", "--to", family === "ip" ? "0.0.0.0/0" : "::/0"];
}

function commented(why: string, match: Rule, target: Rule): Rule {
  return ["-m", "comment", "--comment", `${COMMENT}${why}`, ...match, ...target];
}
