/** How many connections get the wrong verdict while the list changes. */
import { RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { WRITERS, type Writer } from "../../lab/writers.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { CHAINS } from "../baselines/chain.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { ANONYMOUS, KINDNET } from "../baselines/sets.ts";
import { cidrs, OUTBOUND } from "../cidrs.ts";
import { number } from "../figure.ts";
import type { Benchmark } from "../result.ts";

const CHANGES = 200;
/** New flows a second, half of them to an address that both lists keep, half to one that neither does. */
const RATE = 20_000;
const KEPT = "192.168.7.9";
const FOLDER = "/run/gap";

/** Two lists of which only the CIDR of KEPT is the same, and that not quite. */
const LISTS = [
  ["192.168.7.0/24", ...cidrs(63)],
  [...cidrs(126).slice(63), "192.168.0.0/16"],
] as const;

/** Brings lists into the kernel, one after the other. */
interface Changer {
  readonly name: string;
  /** Returns what brings a list in, after the first one is in. */
  begin(lab: Lab): Promise<(list: readonly string[]) => Promise<unknown>>;
}

const CHANGERS: readonly Changer[] = [...WRITERS.map(live), ...[ANONYMOUS, KINDNET, ...CHAINS].map(repeated)];

interface Wrong {
  readonly flows: number;
  readonly masqueraded: number;
  readonly kept: number;
  readonly lost: number;
}

export async function gap(): Promise<Benchmark> {
  const raw: Record<string, Wrong> = {};
  for (const changer of CHANGERS) raw[changer.name] = await wrongOf(changer);
  const wrong = (name: string) => (raw[name]?.masqueraded ?? Number.NaN) + (raw[name]?.kept ?? Number.NaN);
  const ours = CHANGERS[0]?.name ?? "";
  return {
    title: "Gap",
    how: `The list of 64 CIDRs is changed for another ${CHANGES} times while ${RATE.toLocaleString("en-US")} new UDP flows a second go to an address that both keep and to one that neither does: ipmasq as an agent whose config is saved, the others by their syncs, one after the other.`,
    tables: [
      {
        columns: ["", "wrong verdicts", "kept ones masqueraded", "outbound ones not", "lost", "of flows"],
        rows: Object.entries(raw).map(([name, it]) => [
          name,
          ...[wrong(name), it.masqueraded, it.kept, it.lost, it.flows].map(count =>
            count.toLocaleString("en-US"),
          ),
        ]),
      },
    ],
    comparisons: [
      {
        what: "Wrong verdicts while the list changes",
        better: "less",
        ours: { name: ours, samples: [wrong(ours)] },
        others: CHANGERS.slice(WRITERS.length).map(({ name }) => ({ name, samples: [wrong(name)] })),
      },
    ],
    targets: [
      {
        what: `wrong verdicts during ${CHANGES} changes at ${RATE.toLocaleString("en-US")} new flows a second`,
        peer: CHAINS.map(({ name }) => `${number(wrong(name))} (${name.replace("RETURN chain, ", "")})`).join(
          ", ",
        ),
        marks: [{ unit: "", better: "less", value: wrong(ours), must: 0, aim: 0 }],
      },
    ],
    raw,
  };
}

async function wrongOf(changer: Changer): Promise<Wrong> {
  await using lab = await Lab.create();
  const change = await changer.begin(lab);
  const load = await lab.load({ destinations: [KEPT, OUTBOUND], flowsPerSecond: RATE });
  for (let i = 1; i <= CHANGES; i++) await change(LISTS[i % 2] ?? []);
  const [kept, outbound] = await load.stop();
  if (kept === undefined || outbound === undefined) throw new Error("the load was not counted");
  return {
    flows: kept.sent + outbound.sent,
    masqueraded: kept.fromNode + kept.other,
    kept: outbound.fromPod + outbound.other,
    lost: kept.lost + outbound.lost,
  };
}

function live(writer: Writer): Changer {
  return {
    name: `ipmasq ${writer.name}`,
    begin: async lab => {
      await writer.prepare(lab);
      const config = await saveConfig(LISTS[0], FOLDER);
      const agent = await RunningAgent.started(lab.node, [`--config=${config}`, ...writer.flags]);
      return async list => {
        await saveConfig(list, FOLDER);
        await agent.log.until("rules applied");
      };
    },
  };
}

function repeated(baseline: Baseline): Changer {
  return {
    name: baseline.name,
    begin: async lab => {
      const run = (argv: readonly string[], input?: string) => lab.node.run(argv, input);
      const sync = (list: readonly string[]) => baseline.sync(run, list, FOLDER);
      await sync(LISTS[0]);
      return sync;
    },
  };
}
