/** Connections with a wrong verdict while the list changes. */
import { RunningAgent } from "../../lab/agent.ts";
import { Lab } from "../../lab/lab.ts";
import { WRITERS, type Writer } from "../../lab/writers.ts";
import type { Baseline } from "../baselines/baseline.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { ANONYMOUS, CHAINS, KINDNET } from "../baselines/rules.ts";
import { defineCase } from "../case.ts";
import { cidrs, OUTBOUND } from "../cidrs.ts";
import { number } from "../figure.ts";

const CHANGES = 200;
/** New flows per second: half to an address that both lists keep, half to one that neither keeps. */
const RATE = 20_000;
const KEPT = "192.168.7.9";
const FOLDER = "/run/gap";

/** Two lists that only share an entry for KEPT, of different lengths. */
const LISTS = [
  ["192.168.7.0/24", ...cidrs(63)],
  [...cidrs(126).slice(63), "192.168.0.0/16"],
] as const;

/** Brings one list after another into the kernel. */
interface Changer {
  readonly name: string;
  /** Loads the first list, and returns a function that loads another. */
  begin(lab: Lab): Promise<(list: readonly string[]) => Promise<unknown>>;
}

const CHANGERS: readonly Changer[] = [...WRITERS.map(live), ...[ANONYMOUS, KINDNET, ...CHAINS].map(repeated)];

interface Wrong {
  readonly flows: number;
  readonly masqueraded: number;
  readonly kept: number;
  readonly lost: number;
}

export const gap = defineCase(
  "Gap",
  async () => {
    const raw: Record<string, Wrong> = {};
    for (const changer of CHANGERS) raw[changer.name] = await wrongOf(changer);
    return raw;
  },
  raw => {
    const wrong = (name: string) => (raw[name]?.masqueraded ?? Number.NaN) + (raw[name]?.kept ?? Number.NaN);
    const [ours = "", ...names] = Object.keys(raw);
    const chains = CHAINS.map(({ name }) => `${number(wrong(name))} (${name.slice(14)})`);
    return {
      how: `The list of 64 CIDRs changes ${CHANGES} times while ${RATE.toLocaleString("en-US")} new UDP flows per second go to an address that each list keeps and to one that each list masquerades. ipmasq runs as an agent whose config is saved; the others sync repeatedly.`,
      tables: [
        {
          columns: ["", "wrong verdicts", "masqueraded by mistake", "kept by mistake", "lost", "flows"],
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
          ours: [wrong(ours)],
          others: names.filter(name => !name.startsWith("ipmasq")).map(name => [name, [wrong(name)]]),
        },
      ],
      targets: [
        {
          what: `wrong verdicts during ${CHANGES} changes at ${RATE.toLocaleString("en-US")} new flows per second`,
          peer: chains.join(", "),
          marks: [{ value: wrong(ours), must: 0, aim: 0, show: number }],
        },
      ],
    };
  },
);

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
