/** The cost of an agent that has nothing to do. */
import { appendFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { REAL, realCommand } from "../baselines/real.ts";
import { defineCase } from "../case.ts";
import { DEFAULTS } from "../cidrs.ts";
import { duration, megabytes } from "../figure.ts";
import { type Memory, memoryOf, runtimeOf } from "../process-tree.ts";

/** The 60 resyncs of an hour are made in this time, so that their cost stands out. */
const MINUTES = 3;
const RESYNC = "3s";
/** The rest of the hour has no resync. */
const NEVER = "2h";
/** Bun's garbage collector comes to rest in this time. */
const REST_SECONDS = 20;

interface Hour extends Memory {
  /** Seconds of CPU. */
  readonly cpu: number;
  /** Bytes of resident memory after 60 resyncs. */
  readonly later: number;
}

/** Runs in the network namespace of `lab/isolate`, because the bench asks the agents over HTTP. */
export const idle = defineCase(
  "Idle",
  async () => {
    const [ours, peers] = await Promise.all([ipmasq(), Promise.all(REAL.map(peer))]);
    return Object.fromEntries([["ipmasq nftables", ours], ...peers]);
  },
  (raw: Record<string, Hour>) => {
    const show = { cpu: duration, resident: megabytes, later: megabytes, anonymous: megabytes };
    const [ours, ...peers] = Object.entries(raw);
    const value = (quantity: keyof Hour) => ours?.[1][quantity] ?? Number.NaN;
    const theirs = (...quantities: (keyof Hour)[]) =>
      quantities.map(it => show[it](peers[0]?.[1][it] ?? Number.NaN)).join(", ");
    return {
      how: `The agent runs with the defaults and HTTP; its helpers are included. CPU of an hour is the sum of two measurements: 60 resyncs in ${MINUTES} minutes, and ${60 - MINUTES} minutes without a resync, extrapolated from ${MINUTES}. Memory is measured at the end, in the agent without resyncs, and resident memory also in the other one.`,
      tables: [
        {
          columns: ["", "CPU of an hour", "resident", "after 60 resyncs", "anonymous"],
          rows: Object.entries(raw).map(([name, hour]) => [
            name,
            ...QUANTITIES.map(it => show[it](hour[it])),
          ]),
        },
      ],
      targets: [
        {
          what: "memory, idle, defaults, agent with its helper process",
          peer: theirs("resident", "anonymous"),
          marks: [
            { of: "resident", value: value("resident"), must: 55e6, aim: 45e6, show: megabytes },
            { of: "anonymous", value: value("anonymous"), must: 16e6, aim: 10e6, show: megabytes },
          ],
        },
        {
          what: "CPU of an idle hour, a resync per minute",
          peer: theirs("cpu"),
          marks: [{ value: value("cpu"), must: 0.5, aim: 0.3, show: duration }],
        },
      ],
      comparisons: QUANTITIES.filter(it => it !== "later").map(it => ({
        what: it === "cpu" ? "CPU of an idle hour" : `Memory when idle, ${it}`,
        better: "less",
        ours: [value(it)],
        others: peers.map(([name, hour]) => [name, [hour[it]]]),
      })),
    };
  },
);

const QUANTITIES = ["cpu", "resident", "later", "anonymous"] as const;

function ipmasq(): Promise<Hour> {
  return measured(async interval => {
    // Apart: each network namespace has one active agent.
    const command = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", BINARY];
    const flags = ["--config=/run/none", "--listen=127.0.0.1:0", `--resync-interval=${interval}`];
    const agent = Bun.spawn([...command, ...flags], { stderr: "pipe" });
    await new Lines(agent.stderr).until("serving metrics");
    return agent;
  });
}

async function peer({ name }: { name: string }): Promise<[string, Hour]> {
  const variant = name.endsWith("legacy") ? "iptables-legacy" : "iptables-nft";
  const hour = await measured(async interval => {
    const folder = `/run/bench/${name.replaceAll(/\W+/g, "-")}-${interval}`;
    const config = await saveConfig(DEFAULTS, folder);
    await appendFile(config, `resyncInterval: ${interval}\n`);
    // Apart, or ipmasq would react to the changes.
    const command = ["unshare", "--net", ...(await realCommand(variant, folder, { once: false }))];
    return Bun.spawn(command, { stderr: "ignore" });
  });
  return [name, hour];
}

/** @param start starts an agent with that resync interval; this function ends it */
async function measured(start: (interval: string) => Promise<Bun.Subprocess>): Promise<Hour> {
  const agents = await Promise.all([start(RESYNC), start(NEVER)]);
  try {
    await Bun.sleep(1000 * REST_SECONDS);
    const before = agents.map(({ pid }) => runtimeOf(pid));
    await Bun.sleep(60_000 * MINUTES);
    const [busy = 0, still = 0] = agents.map(({ pid }, i) => runtimeOf(pid) - (before[i] ?? 0));
    const later = memoryOf(agents[0].pid).resident;
    return { cpu: busy + (still * (60 - MINUTES)) / MINUTES, later, ...memoryOf(agents[1].pid) };
  } finally {
    for (const agent of agents) agent.kill();
    await Promise.all(agents.map(({ exited }) => exited));
  }
}
