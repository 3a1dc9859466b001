import { ProgramError, type ProgramResult } from "../../src/system/program.ts";

/** Where programs run to their end, with what they read on standard input; a Namespace, say. */
interface Node {
  run(argv: readonly string[], input?: string): Promise<ProgramResult>;
}

/**
 * What kubernetes-sigs' ip-masq-agent does once a minute, program for program: it makes its chain, appends the jump to
 * it if there is none with its comment, and writes all rules of the chain anew.
 *
 * @param program iptables, iptables-nft or iptables-legacy
 * @param keep its nonMasqueradeCIDRs
 * @param name of its chain
 * @throws ProgramError if the last program fails
 */
export async function upstreamAgentSync(
  node: Node,
  program: string,
  keep: readonly string[],
  name = "IP-MASQ-AGENT",
): Promise<void> {
  // It hands this over as it stands, quotes and all, so that they end up in the kernel.
  const why = `"ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom ${name} chain"`;
  const jump = [
    ..."-m comment --comment".split(" "),
    why,
    ...`-m addrtype ! --dst-type LOCAL -j ${name}`.split(" "),
  ];
  const iptables = (action: string, chain: string, ...words: string[]) =>
    node.run([program, "-w", "5", action, chain, "-t", "nat", ...words]);
  await iptables("-N", name);
  if ((await iptables("-C", "POSTROUTING", ...jump)).exitCode !== 0) {
    await iptables("-A", "POSTROUTING", ...jump);
  }
  const { exitCode, stderr } = await node.run(
    [`${program}-restore`, "-w", "5", "--noflush"],
    chainOf(name, keep),
  );
  if (exitCode !== 0) throw new ProgramError("refused", `${program}-restore`, stderr.trim(), "", exitCode);
}

function chainOf(name: string, keep: readonly string[]): string {
  const rule = (words: string, target: string) =>
    `-A ${name} -m comment --comment "ip-masq-agent: ${words}" ${target}\n`;
  const kept = ["169.254.0.0/16", ...keep].map(cidr =>
    rule("local traffic is not subject to MASQUERADE", `-d ${cidr} -j RETURN`),
  );
  const rest = rule(
    "outbound traffic is subject to MASQUERADE (must be last in chain)",
    "-j MASQUERADE --random-fully",
  );
  return `*nat\n:${name} - [0:0]\n${kept.join("")}${rest}COMMIT\n`;
}
