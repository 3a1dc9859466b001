/** What an agent costs that has nothing to do. */
import { BINARY } from "../../lab/agent.ts";
import { Lines } from "../../lab/lines.ts";
import { saveConfig } from "../contestants/ipmasq.ts";
import { REAL, realCommand } from "../contestants/real.ts";
import { duration, megabytes } from "../figure.ts";
import { cpuOf, type Memory, memoryOf } from "../process-tree.ts";
import type { Benchmark } from "../result.ts";

/** What is measured of an hour, after a while in which Bun's garbage collector comes to rest. */
const MINUTES = 3;
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
    how: `The defaults, a resync each minute, HTTP listening; agent and its helpers together. CPU, that of programs which the agent ran included, is of ${MINUTES} minutes and scaled to an hour; memory is that at their end.`,
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
    promises: [
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

async function ipmasq(): Promise<Hour> {
  const agent = Bun.spawn([BINARY, "--config=/run/none", "--listen=127.0.0.1:0"], { stderr: "pipe" });
  await new Lines(agent.stderr).until("serving metrics");
  return measured(agent);
}

async function peer({ name }: { name: string }): Promise<[string, Hour]> {
  const folder = `/run/bench/${name.replaceAll(/\W+/g, "-")}`;
  await saveConfig(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"], folder);
  const variant = name.endsWith("legacy") ? "iptables-legacy" : "iptables-nft";
  // Apart, or ipmasq would look at what changes there.
  const command = ["unshare", "--net", ...(await realCommand(variant, folder, { once: false }))];
  const agent = Bun.spawn(command, { stderr: "ignore" });
  return [name, await measured(agent)];
}

/** Ends it. */
async function measured(agent: Bun.Subprocess): Promise<Hour> {
  try {
    await Bun.sleep(1000 * REST_SECONDS);
    const before = cpuOf(agent.pid);
    await Bun.sleep(60_000 * MINUTES);
    const after = cpuOf(agent.pid);
    const cpu = ((after.user + after.system - before.user - before.system) * 60) / MINUTES;
    return { cpu, ...memoryOf(agent.pid) };
  } finally {
    agent.kill();
    await agent.exited;
  }
}
