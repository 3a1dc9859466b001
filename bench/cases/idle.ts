/** What an agent costs that has nothing to do. */
import { appendFile } from "node:fs/promises";
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { saveConfig } from "../baselines/ipmasq.ts";
import { REAL, realCommand } from "../baselines/real.ts";
import { duration, megabytes } from "../figure.ts";
import { type Memory, memoryOf, runtimeOf } from "../process-tree.ts";
import type { Benchmark } from "../result.ts";

/** An hour has 60 resyncs. They are made in this time, one every so often, so that they can be told from nothing. */
const MINUTES = 3;
const RESYNC = "3s";
/** The rest of the hour is like this one's: no resync comes. */
const NEVER = "2h";
/** A while in which Bun's garbage collector comes to rest. */
const REST_SECONDS = 20;

interface Hour extends Memory {
  /** Seconds of CPU. */
  readonly cpu: number;
}

/** In the network namespace of `lab/isolate` itself, for its HTTP. */
export async function idle(): Promise<Benchmark> {
  const [ours, peers] = await Promise.all([ipmasq(), Promise.all(REAL.map(peer))]);
  const all: [string, Hour][] = [["ipmasq nftables", ours], ...peers];
  const [, peersHour] = peers[0] ?? [];
  return {
    title: "Idle",
    how: `The defaults, HTTP listening; agent and its helpers together. CPU, that of programs which the agent ran included, is that of 60 resyncs, as many as an hour has, made in ${MINUTES} minutes, and of ${60 - MINUTES} minutes without any, of which ${MINUTES} were measured; memory is that at the end, of the agent that did nothing.`,
    tables: [
      {
        columns: ["", "CPU of an hour", "resident", "anonymous"],
        rows: all.map(([name, { cpu, resident, anonymous }]) => [
          name,
          duration(cpu),
          megabytes(resident),
          megabytes(anonymous),
        ]),
      },
    ],
    targets: [
      {
        what: "memory, idle, defaults, agent with its helper process",
        peer:
          peersHour === undefined
            ? "not measured"
            : `${megabytes(peersHour.resident)}, ${megabytes(peersHour.anonymous)}`,
        marks: [
          { of: "resident", unit: "bytes", better: "less", value: ours.resident, must: 60e6, aim: 45e6 },
          { of: "anonymous", unit: "bytes", better: "less", value: ours.anonymous, must: 16e6, aim: 10e6 },
        ],
      },
      {
        what: "CPU of an idle hour, a resync each minute",
        peer: peersHour === undefined ? "not measured" : duration(peersHour.cpu),
        marks: [{ unit: "s", better: "less", value: ours.cpu, must: 1, aim: 0.3 }],
      },
    ],
    comparisons: (["cpu", "resident", "anonymous"] as const).map(value => ({
      what: value === "cpu" ? "CPU of an idle hour" : `Memory when idle, ${value}`,
      better: "less",
      ours: { name: "ipmasq nftables", samples: [ours[value]] },
      others: peers.map(([name, hour]) => ({ name, samples: [hour[value]] })),
    })),
    raw: Object.fromEntries(all),
  };
}

function ipmasq(): Promise<Hour> {
  return measured(async interval => {
    // Apart, since one agent works in a network namespace.
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
    const config = await saveConfig(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], folder);
    await appendFile(config, `resyncInterval: ${interval}\n`);
    // Apart, or ipmasq would look at what changes there.
    const command = ["unshare", "--net", ...(await realCommand(variant, folder, { once: false }))];
    return Bun.spawn(command, { stderr: "ignore" });
  });
  return [name, hour];
}

/** @param start an agent with such a resync interval; it is ended here */
async function measured(start: (interval: string) => Promise<Bun.Subprocess>): Promise<Hour> {
  const agents = await Promise.all([start(RESYNC), start(NEVER)]);
  try {
    await Bun.sleep(1000 * REST_SECONDS);
    const before = agents.map(({ pid }) => runtimeOf(pid));
    await Bun.sleep(60_000 * MINUTES);
    const [busy = 0, still = 0] = agents.map(({ pid }, i) => runtimeOf(pid) - (before[i] ?? 0));
    return { cpu: busy + (still * (60 - MINUTES)) / MINUTES, ...memoryOf(agents[1].pid) };
  } finally {
    for (const agent of agents) agent.kill();
    await Promise.all(agents.map(({ exited }) => exited));
  }
}
