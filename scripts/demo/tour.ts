import { FLANNEL } from "./flannel.ts";
import { chapter, Stage } from "./stage.ts";

const CONFIG = "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\nsourceCIDRs:\n  - 10.244.0.0/16\n";
const PARTNER = "203.0.113.7";
const DATABASE = "10.100.7.8";

/** The tour of `npm start -- --tour`: questions of an operator, and the commands that answer them. */
export async function tour(): Promise<Stage> {
  const stage = await Stage.open("The agent starts with a config", CONFIG);
  // The lab's entries last a second otherwise.
  await stage.lab.node.output(["sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=60"]);

  chapter("explain: which address does a connection get, and why?");
  await stage.ipmasq(`explain 10.244.1.2 ${PARTNER}`);
  await stage.ipmasq(`explain 10.244.1.2 ${DATABASE}`);

  chapter("diff: what would another config change?");
  const next = CONFIG.replace("/8\n", "/8\n  - 203.0.113.0/24\n");
  await Bun.write("/run/demo/new.yaml", next);
  await stage.ipmasq("diff --from=/run/demo/config/ip-masq-agent --to=/run/demo/new.yaml");

  chapter("connections: a change does not affect connections from before it");
  await stage.connect(["udp", PARTNER, 514]);
  await stage.configure(next);
  await stage.ipmasq("connections --stale");
  await stage.ipmasq("connections --forget-stale");
  await stage.connect(["udp", PARTNER, 514]);

  chapter("status: flannel arrives, and masquerades connections that the config keeps");
  await stage.lab.node.output(["iptables-restore", "--noflush"], { input: FLANNEL });
  await stage.connect(["tcp", DATABASE, 5432]);
  await stage.ipmasq("status", "conflicts");

  chapter("enforceNonMasquerade: the config decides");
  await stage.configure(`${next}enforceNonMasquerade: true\n`);
  await stage.connect(["tcp", DATABASE, 5432]);
  await stage.ipmasq("verify");
  return stage;
}
