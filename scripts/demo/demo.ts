/** The demo of `npm start`: the agent at work on real packets. `--tour` shows its commands instead. */
import { chapter, Stage, say } from "./stage.ts";
import { tour } from "./tour.ts";

const OUTSIDE = "203.0.113.7";
const NODE_TABLE = ["nft", "list", "table", "ip", "ip-masq-agent"];

const began = performance.now();
{
  await using stage = process.argv.includes("--tour") ? await tour() : await demo();
  if (process.argv.includes("--keep")) await stage.keep();
}
say(`\nThe demo took ${(since(began) / 1000).toFixed(1)} s. Nothing is left behind.`);
say("What next:");
say("  npm start -- --tour    explain, diff, a conflict and its remedy, connections from before a change");
say("  npm start -- --keep    the same demo, which stays, with a status page to open");
say("  README.md              install ipmasq on a cluster or a router");

async function demo(): Promise<Stage> {
  const stage = await Stage.open("The agent starts on the node, without a config: the defaults apply");
  const { lab } = stage;
  await stage.run(NODE_TABLE.join(" "));
  await stage.connect(
    ["tcp", "10.20.30.40", 443],
    ["udp", "172.16.1.2", 53],
    ["tcp", "192.168.7.8", 80],
    ["udp", "169.254.20.10", 53],
    ["icmp", "10.20.30.40"],
    ["tcp", OUTSIDE, 443],
    ["udp", OUTSIDE, 53],
    ["icmp", OUTSIDE],
  );

  chapter(`A config is saved: ${OUTSIDE} sees the Pod's address`);
  const edited = performance.now();
  await stage.configure(
    "nonMasqueradeCIDRs:\n  - 10.0.0.0/8\n  - 203.0.113.0/24\nmasqueradeCIDRs:\n  - 10.20.0.0/16\n",
  );
  await until(async () => (await lab.ownerSeen({ protocol: "udp", to: OUTSIDE })) === "pod");
  say(`in force after ${since(edited)} ms`);
  await stage.connect(
    ["tcp", OUTSIDE, 443],
    ["tcp", "10.1.2.3", 443],
    ["tcp", "10.20.30.40", 443],
    ["tcp", "192.168.7.8", 80],
  );

  chapter("The counters: one for each connection that needed a verdict");
  await stage.run(NODE_TABLE.join(" "));

  chapter("Another program flushes the node's rules");
  await stage.run("nft flush ruleset");
  const flushed = performance.now();
  await until(async () => (await lab.node.run(NODE_TABLE)).stdout.includes("masquerade"));
  say(`repaired after ${since(flushed)} ms`);
  await stage.shown("repaired");
  await stage.connect(["tcp", OUTSIDE, 443], ["tcp", "192.168.7.8", 80]);
  return stage;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const began = performance.now();
  while (!(await isSo())) {
    if (since(began) > 5000) throw new Error("nothing happened within 5 s");
    await Bun.sleep(1);
  }
}

function since(moment: number): number {
  return Math.round(performance.now() - moment);
}
