/** From the start of a program to its rules in force, with the default config and an empty kernel. */
import { RunningAgent } from "../../lab/agent.ts";
import type { Namespace } from "../../lab/namespace.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { REAL } from "../baselines/real.ts";
import { CHAINS } from "../baselines/rules.ts";
import { defineCase } from "../case.ts";
import { DEFAULTS } from "../cidrs.ts";
import { duration, median, percent, quantile, spread, times } from "../figure.ts";
import { Meter } from "../meter.ts";
import { Paths } from "../wire/paths.ts";

const ROUNDS = 31;

/** Starts a program on a node without rules, and returns the seconds until its rules are in force. */
type Start = (node: Namespace) => Promise<number>;

const DEFAULT = "ipmasq, defaults";

const STARTS: Readonly<Record<string, Start>> = {
  [DEFAULT]: node => agent(node, []),
  "ipmasq nftables": node => agent(node, ["--backend=nftables"]),
  "ipmasq iptables-nft": node => hinted(node, "iptables-nft"),
  "ipmasq iptables-legacy": node => hinted(node, "iptables-legacy"),
  ...Object.fromEntries([...CHAINS, ...REAL].map(baseline => [baseline.name, once(baseline)])),
};

export const start = defineCase("Start", measure, (raw: Record<string, number[]>) => {
  const ours = raw[DEFAULT] ?? [];
  const others = Object.entries(raw).filter(([name]) => name !== DEFAULT);
  const peers = others.filter(([name]) => name.startsWith("ip-masq-agent"));
  return {
    how: `Each program starts with the default config and an empty kernel. Time is measured until ipmasq logs "rules applied", when nft has printed the kernel's numbers of all rules, or until ip-masq-agent's iptables-restore ends. "RETURN chain" runs the commands of ip-masq-agent without the agent. The programs take turns, for ${Object.values(raw)[0]?.length} rounds. Without \`--backend\`, ipmasq chooses nftables.`,
    tables: [
      {
        columns: ["", "median", "99th percentile", "spread"],
        rows: Object.entries(raw).map(([name, times]) => [
          name,
          duration(median(times)),
          duration(quantile(times, 0.99)),
          `± ${percent(spread(times))}`,
        ]),
      },
    ],
    comparisons: [
      {
        what: "Start to rules in force",
        better: "less",
        ours,
        others: others.filter(([name]) => !name.startsWith("ipmasq")),
      },
    ],
    targets: [
      {
        what: "process start to rules in force, defaults, beside ip-masq-agent by iptables-nft, median",
        peer:
          peers.map(([name, times]) => `${duration(median(times))} (${name.slice(15)})`).join(", ") ||
          "not measured",
        marks: [{ value: median(ours) / median(peers[0]?.[1] ?? []), must: 1.2, aim: 1, show: times }],
      },
    ],
  };
});

async function measure(): Promise<Record<string, number[]>> {
  await using paths = await Paths.create();
  const lanes: { name: string; begin: Start; node: Namespace; times: number[] }[] = [];
  for (const [name, begin] of Object.entries(STARTS)) {
    lanes.push({ name, begin, node: (await paths.add()).node, times: [] });
  }
  // Round 0 warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const { begin, node, times } of lanes) {
      await node.output(["nft", "flush ruleset"]);
      await node.output(["iptables-legacy-restore"], { input: EMPTY });
      const time = await begin(node);
      if (round > 0) times.push(time);
    }
  }
  return Object.fromEntries(lanes.map(({ name, times }) => [name, times]));
}

/** The legacy tables of a fresh namespace that the bench writes to. */
const EMPTY = ["nat", "mangle"].map(table => `*${table}\nCOMMIT\n`).join("");

async function agent(node: Namespace, flags: readonly string[]): Promise<number> {
  const began = performance.now();
  const running = await RunningAgent.started(node, ["--config=/run/none", ...flags]);
  const time = (performance.now() - began) / 1000;
  await running.end("SIGKILL");
  return time;
}

/** The hint chain, which kubelet makes, selects the variant. */
async function hinted(node: Namespace, variant: string): Promise<number> {
  await node.output([variant, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
  return agent(node, ["--backend=iptables"]);
}

function once(baseline: Baseline): Start {
  return async node => {
    const meter = new Meter(node);
    await baseline.sync(meter.run, DEFAULTS, `/run/bench/${node.name}`);
    return meter.cost.wall - (baseline.tail ?? 0);
  };
}
