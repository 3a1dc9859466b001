/** From the start of a program to its rules in force, with the default config and an empty kernel. */
import { RunningAgent } from "../../lab/agent.ts";
import type { Namespace } from "../../lab/namespace.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { CHAINS } from "../baselines/chain.ts";
import { REAL } from "../baselines/real.ts";
import { duration, median, plusMinus, quantile, spread } from "../figure.ts";
import { Meter } from "../meter.ts";
import type { Benchmark } from "../result.ts";
import { Paths } from "../wire/paths.ts";

const ROUNDS = 31;
const DEFAULTS = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

/** Starts something on a node without rules, and returns the seconds until its rules are in force. */
type Start = (node: Namespace) => Promise<number>;

const STARTS: Readonly<Record<string, Start>> = {
  "ipmasq nftables": node => agent(node, ["--backend=nftables"]),
  "ipmasq iptables-nft": node => hinted(node, "iptables-nft"),
  "ipmasq iptables-legacy": node => hinted(node, "iptables-legacy"),
  ...Object.fromEntries([...CHAINS, ...REAL].map(baseline => [baseline.name, once(baseline)])),
};

export async function start(): Promise<Benchmark> {
  await using paths = await Paths.create();
  const lanes: { name: string; begin: Start; node: Namespace; times: number[] }[] = [];
  for (const [name, begin] of Object.entries(STARTS)) {
    lanes.push({ name, begin, node: (await paths.add()).node, times: [] });
  }
  // The first round warms up.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const { begin, node, times } of lanes) {
      await node.output(["nft", "flush ruleset"]);
      await node.output(["iptables-legacy-restore"], { input: EMPTY });
      const time = await begin(node);
      if (round > 0) times.push(time);
    }
  }
  const [ours, ...others] = lanes.map(({ name, times }) => ({ name, samples: times }));
  if (ours === undefined) throw new Error("there is nobody to start");
  const peers = others.filter(({ name }) => name.startsWith("ip-masq-agent"));
  return {
    title: "Start",
    how: `The default config, an empty kernel. ipmasq until it logs that its rules are applied, which is after it has read them back; ip-masq-agent until its iptables-restore has ended; "RETURN chain" is its calls without the program. ${ROUNDS} rounds, in turns.`,
    tables: [
      {
        columns: ["", "median", "99th percentile", "spread"],
        rows: lanes.map(({ name, times }) => [
          name,
          duration(median(times)),
          duration(quantile(times, 0.99)),
          plusMinus(spread(times)),
        ]),
      },
    ],
    comparisons: [
      {
        what: "Start to rules in force",
        better: "less",
        ours,
        others: others.filter(({ name }) => !name.startsWith("ipmasq")),
      },
    ],
    targets: [
      {
        what: "process start to rules in force, defaults, median",
        peer:
          peers
            .map(
              ({ name, samples }) => `${duration(median(samples))} (${name.replace("ip-masq-agent, ", "")})`,
            )
            .join(", ") || "not measured",
        marks: [{ unit: "s", better: "less", value: median(ours.samples), must: 0.1, aim: 0.04 }],
      },
    ],
    raw: Object.fromEntries(lanes.map(({ name, times }) => [name, times])),
  };
}

/** What a fresh namespace has in its legacy tables, as far as anybody here writes to them. */
const EMPTY = ["nat", "mangle"].map(table => `*${table}\nCOMMIT\n`).join("");

async function agent(node: Namespace, flags: readonly string[]): Promise<number> {
  const began = performance.now();
  const running = await RunningAgent.started(node, ["--config=/run/none", ...flags]);
  const time = (performance.now() - began) / 1000;
  await running.end("SIGKILL");
  return time;
}

/** The hint makes it choose the variant, as kubelet does. */
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
