import type { Lab } from "../../lab/lab.ts";

/**
 * The foreign chains in the node's kernel, without counts and without the empty chains that iptables makes. Chains and
 * elements of sets are sorted, because the kernel lists them by age.
 */
export async function foreignChains(lab: Lab): Promise<string[]> {
  const ruleset = await lab.node.output(["nft", "-s", "list", "ruleset"]);
  const legacy = await lab.node.output(["iptables-legacy-save"]);
  return `${ruleset}${legacy}`
    .replace(/^table ip6? ip-masq-agent \{\n(?:.*\n)*?\}\n/gm, "")
    .replace(
      /^\tchain IP-MASQ-AGENT(?:-[A-Z]+)? \{\n(?:.*\n)*?\t\}\n|^.*(IP-MASQ-AGENT|KUBE-IPTABLES-HINT).*\n/gm,
      "",
    )
    .replace(/counter packets \d+ bytes \d+ |\[\d+:\d+\]|^#.*\n/gm, "")
    .replace(/elements = \{([^}]*)\}/g, (_all, elements: string) => elements.split(/,\s*/).toSorted().join())
    .split(/^(?=table|\tchain|\*)/m)
    .map(chain => chain.replace(/[\s}]+$/, ""))
    .filter(chain => !EMPTY.test(chain))
    .toSorted();
}

const EMPTY = /^(table \S+ \S+ \{|\tchain [A-Z]+ \{\n\t\ttype .*|\*\w+\n(:[A-Z]+ ACCEPT *\n)*COMMIT|)$/;
