import { ProgramError, type ProgramResult } from "../../src/system/program.ts";

/** Runs programs with standard input, for example a Namespace. */
interface Node {
  run(argv: readonly string[], input?: string): Promise<ProgramResult>;
}

/**
 * Runs the programs of one sync of kubernetes-sigs' ip-masq-agent: creates its chain, appends the jump if none has its
 * comment, and rewrites all rules of the chain.
 *
 * @param program iptables, iptables-nft or iptables-legacy
 * @param keep its nonMasqueradeCIDRs
 * @param name the name of its chain
 * @throws ProgramError if the last program fails
 */
export async function upstreamAgentSync(
  node: Node,
  program: string,
  keep: readonly string[],
  name = "IP-MASQ-AGENT",
): Promise<void> {
  // ip-masq-agent passes this with its quotes, which end up in the kernel.
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
