import { type Contestant, mustRun } from "./contestant.ts";

/** The chain of ip-masq-agent by the calls that it makes at each sync, without the Go program that makes them. */
export const CHAINS: readonly Contestant[] = ["iptables-nft", "iptables-legacy"].map(variant => ({
  name: `RETURN chain, ${variant}`,
  ours: false,
  linear: true,
  sync: async (run, cidrs) => {
    await run([variant, "-w", "-N", CHAIN, "-t", "nat"]); // fails if it is there
    const { exitCode } = await run([variant, "-w", "-C", ...JUMP]);
    if (exitCode !== 0) await mustRun(run, [variant, "-w", "-A", ...JUMP]);
    await mustRun(run, [`${variant}-restore`, "-w", "--noflush"], chain(cidrs));
  },
}));

const CHAIN = "IP-MASQ-AGENT";
const JUMP = [
  "POSTROUTING",
  ...["-t", "nat"],
  ...["-m", "comment", "--comment", `ip-masq-agent: jump to ${CHAIN}`],
  ...["-m", "addrtype", "!", "--dst-type", "LOCAL", "-j", CHAIN],
];

function chain(cidrs: readonly string[]): string {
  const comment = (text: string) => `-m comment --comment "ip-masq-agent: ${text}"`;
  const kept = ["169.254.0.0/16", ...cidrs].map(
    cidr => `-A ${CHAIN} ${comment("kept")} -d ${cidr} -j RETURN`,
  );
  const masqueraded = `-A ${CHAIN} ${comment("masqueraded")} -j MASQUERADE --random-fully`;
  return ["*nat", `:${CHAIN} - [0:0]`, ...kept, masqueraded, "COMMIT", ""].join("\n");
}
