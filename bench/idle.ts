/** What an agent costs that has nothing to do, and whether it costs more in the course of time. */
import { readdir, readFile } from "node:fs/promises";
import { BINARY } from "../lab/agent.ts";
import { Lines } from "../lab/lines.ts";
import type { Measured } from "./result.ts";

/** With a resync each second, as many as an hour has of one a minute. */
const RESYNCS = 60;
const SYNCS = 10_000;

/** In the network namespace of `lab/isolate` itself, for its HTTP. */
export async function idle(): Promise<Measured> {
  const hour = await withAgent(["--resync-interval=1s"], async ({ pid }) => {
    const before = await cost(pid);
    await Bun.sleep(1000 * RESYNCS);
    const { cpu, ...memory } = await cost(pid);
    return { cpu: cpu - before.cpu, ...memory };
  });
  const rest = await withAgent(["--resync-interval=1h"], async ({ pid }) => {
    const before = await cost(pid);
    await Bun.sleep(60_000);
    return (await cost(pid)).cpu - before.cpu;
  });
  const growth = await withAgent([], async ({ pid, url, hangUp }) => {
    const points: { syncs: number; resident: number; anonymous: number }[] = [];
    for (const goal of [100, 1000, 5000, SYNCS]) {
      while ((await syncs(url)) < goal) {
        for (let i = 0; i < 50; i++) {
          hangUp();
          await Bun.sleep(2);
        }
      }
      await Bun.sleep(2000);
      const { resident, anonymous } = await cost(pid);
      points.push({ syncs: await syncs(url), resident, anonymous });
    }
    return points;
  });
  const mb = (kib: number) => `${(kib / 1024).toFixed(1)} MB`;
  const cpu = hour.cpu + 60 * rest;
  return {
    title: "Idle",
    how: `The defaults, nftables, agent and its helper together. An hour of CPU: ${RESYNCS} resyncs, a second apart, and 60 times a minute without one. Then ${SYNCS} syncs asked for by SIGHUP.`,
    columns: ["", "CPU of an hour", "resident", "anonymous"],
    rows: [
      ["an idle hour", `${cpu.toFixed(2)} s`, mb(hour.resident), mb(hour.anonymous)],
      ...growth.map(it => [`after ${it.syncs} syncs`, "", mb(it.resident), mb(it.anonymous)]),
    ],
    raw: { hour, minuteWithoutResync: rest, growth },
  };
}

interface Running {
  readonly pid: number;
  readonly url: string;
  hangUp(): void;
}

async function withAgent<T>(flags: readonly string[], measure: (agent: Running) => Promise<T>): Promise<T> {
  const agent = Bun.spawn([BINARY, "--config=/run/none", "--listen=127.0.0.1:0", ...flags], {
    stderr: "pipe",
  });
  try {
    const [serving = ""] = (await new Lines(agent.stderr).until("serving metrics")).slice(-1);
    const url = `http://${/listen=(\S+)/.exec(serving)?.[1]}`;
    await Bun.sleep(2000);
    return await measure({ pid: agent.pid, url, hangUp: () => agent.kill("SIGHUP") });
  } finally {
    agent.kill();
    await agent.exited;
  }
}

async function syncs(url: string): Promise<number> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^ipmasq_sync_duration_seconds_count (\d+)$/m.exec(metrics)?.[1]);
}

/** CPU in seconds, of ended children too; memory in KiB. Of a process and of its children. */
async function cost(pid: number): Promise<{ cpu: number; resident: number; anonymous: number }> {
  const total = { cpu: 0, resident: 0, anonymous: 0 };
  for (const each of [pid, ...(await childrenOf(pid))]) {
    const [, after = ""] = (await readFile(`/proc/${each}/stat`, "utf8")).split(") ");
    const times = after.split(" ").slice(11, 15).map(Number);
    total.cpu += times.reduce((sum, time) => sum + time, 0) / TICKS;
    const status = await readFile(`/proc/${each}/status`, "utf8");
    const value = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]);
    total.resident += value("VmRSS");
    total.anonymous += value("RssAnon");
  }
  return total;
}

/** A second, as /proc counts. */
const TICKS = 100;

async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`);
  const lists = threads.map(thread => readFile(`/proc/${pid}/task/${thread}/children`, "utf8"));
  return (await Promise.all(lists)).join(" ").split(" ").filter(Boolean).map(Number);
}
