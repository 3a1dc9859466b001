import type { Lab } from "../../lab/lab.ts";

/**
 * The chains in the node's kernel that are not ours, without counts, and without those of iptables that are empty,
 * which whoever uses it makes. Their order is that in which they were made, so they are sorted, and elements of sets too.
 */
export async function foreignChains(lab: Lab): Promise<string[]> {
  const ruleset = await lab.node.output(["nft", "-s", "list", "ruleset"]);
  const legacy = await lab.node.output(["iptables-legacy-save"]);
  return `${ruleset}${legacy}`
    .replace(/^table ip6? ip-masq-agent \{\n(?:.*\n)*?\}\n/gm, "")
    .replace(/^\tchain IP-MASQ-AGENT \{\n(?:.*\n)*?\t\}\n|^.*(IP-MASQ-AGENT|KUBE-IPTABLES-HINT).*\n/gm, "")
    .replace(/counter packets \d+ bytes \d+ |\[\d+:\d+\]|^#.*\n/gm, "")
    .replace(/elements = \{([^}]*)\}/g, (_all, elements: string) => elements.split(/,\s*/).toSorted().join())
    .split(/^(?=table|\tchain|\*)/m)
    .map(chain => chain.replace(/[\s}]+$/, ""))
    .filter(chain => !EMPTY.test(chain))
    .toSorted();
}

const EMPTY = /^(table \S+ \S+ \{|\tchain [A-Z]+ \{\n\t\ttype .*|\*\w+\n(:[A-Z]+ ACCEPT *\n)*COMMIT|)$/;
