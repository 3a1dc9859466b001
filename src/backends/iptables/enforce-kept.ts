import type { Family } from "../../net/cidr.ts";
import { optionOf, type Rule } from "../../xtables/rule.ts";
import { COMMENT } from "../ownership.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/**
 * Packets with one of these marks are masqueraded by foreign rules: by default those of kube-proxy (hairpin, NodePort)
 * and of the CNI plugin portmap (hostPort).
 */
const MARKS = ["0x4000/0x4000", "0x2000/0x2000"];

/**
 * The ruleset with kept connections bound to their own address, so that a later NAT chain, such as a table of ours that
 * a crashing nft cannot remove, does not change it. NETMAP onto every address maps each address to itself, and keeps
 * ports (measured with both variants, iptables 1.8.9, kernel 6.18).
 *
 * @param gated whether the first chain restricts sources or interfaces
 */
export function enforceKept({ family, jump, chains }: Ruleset, gated: boolean): Ruleset {
  const [first, ...others] = chains.map(chain => claimIn(chain, family));
  if (!first) return { family, jump, chains };
  const marked = MARKS.map(mark =>
    commented(
      "packets that others masquerade by their mark",
      ["-m", "mark", "--mark", mark],
      ["-j", "RETURN"],
    ),
  );
  const rest = gated ? [commented("sources and interfaces that are kept", [], netmap(family))] : [];
  return {
    family,
    jump,
    chains: [{ name: first.name, rules: [...marked, ...first.rules, ...rest] }, ...others],
  };
}

function claimIn({ name, rules }: Chain, family: Family): Chain {
  const claimed = rules.map(rule =>
    optionOf(rule, "-j") === "RETURN" ? [...rule.slice(0, -2), ...netmap(family)] : rule,
  );
  return { name, rules: claimed };
}

function netmap(family: Family): Rule {
  return ["-j", "NETMAP", "--to", family === "ip" ? "0.0.0.0/0" : "::/0"];
}

function commented(why: string, match: Rule, target: Rule): Rule {
  return ["-m", "comment", "--comment", `${COMMENT}${why}`, ...match, ...target];
}
