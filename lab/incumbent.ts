import type { Namespace } from "./namespace.ts";

const CHAIN = "IP-MASQ-AGENT";
/** It hands this over as it stands, quotes and all, so that they end up in the kernel. */
const WHY = `"ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom ${CHAIN} chain"`;
const JUMP = `-m comment --comment WHY -m addrtype ! --dst-type LOCAL -j ${CHAIN}`;

/**
 * What kubernetes-sigs' ip-masq-agent does once a minute, program for program: it makes its chain, appends the jump to
 * it if there is none with its comment, and writes all rules of the chain anew.
 *
 * @param program iptables, iptables-nft or iptables-legacy
 * @param keep its nonMasqueradeCIDRs
 */
export async function incumbentSync(
  node: Namespace,
  program: string,
  keep: readonly string[],
): Promise<void> {
  const jump = JUMP.split(" ").map(word => (word === "WHY" ? WHY : word));
  const iptables = (action: string, chain: string, ...words: string[]) =>
    node.run([program, "-w", "5", action, chain, "-t", "nat", ...words]);
  await iptables("-N", CHAIN);
  if ((await iptables("-C", "POSTROUTING", ...jump)).exitCode !== 0) {
    await iptables("-A", "POSTROUTING", ...jump);
  }
  await node.output([`${program}-restore`, "-w", "5", "--noflush"], { input: chainOf(keep) });
}

function chainOf(keep: readonly string[]): string {
  const rule = (words: string, target: string) =>
    `-A ${CHAIN} -m comment --comment "ip-masq-agent: ${words}" ${target}\n`;
  const kept = ["169.254.0.0/16", ...keep].map(cidr =>
    rule("local traffic is not subject to MASQUERADE", `-d ${cidr} -j RETURN`),
  );
  const rest = rule(
    "outbound traffic is subject to MASQUERADE (must be last in chain)",
    "-j MASQUERADE --random-fully",
  );
  return `*nat\n:${CHAIN} - [0:0]\n${kept.join("")}${rest}COMMIT\n`;
}
