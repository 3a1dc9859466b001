/** What an agent costs that has nothing to do, and whether it costs more in the course of time. */
import { readdir, readFile } from "node:fs/promises";
import { BINARY } from "../lab/agent.ts";
import { Lines } from "../lab/lines.ts";
import type { Measured } from "./result.ts";

/** What is measured of an hour, after a while in which Bun's garbage collector comes to rest. */
const MINUTES = 5;
const REST_SECONDS = 40;
const SYNCS = [100, 1000, 5000, 10_000];

/** In the network namespace of `lab/isolate` itself, for its HTTP. */
export async function idle(): Promise<Measured> {
  const hour = await withAgent(async ({ pid }) => {
    await Bun.sleep(1000 * REST_SECONDS);
    const before = await cost(pid);
    await Bun.sleep(60_000 * MINUTES);
    const { cpu, ...memory } = await cost(pid);
    return { cpu: ((cpu - before.cpu) * 60) / MINUTES, ...memory };
  });
  const growth = await withAgent(async ({ pid, url, hangUp }) => {
    const points: { syncs: number; resident: number; anonymous: number }[] = [];
    let done = 0;
    for (const goal of SYNCS) {
      while (done < goal) {
        for (let left = goal - done; left > 0; left--) {
          hangUp();
          await Bun.sleep(8); // signals that come during a sync make one
        }
        done = await syncs(url);
      }
      await Bun.sleep(3000);
      const { resident, anonymous } = await cost(pid);
      points.push({ syncs: done, resident, anonymous });
    }
    return points;
  });
  const mb = (kib: number) => `${(kib / 1024).toFixed(1)} MB`;
  return {
    title: "Idle",
    how: `The defaults, nftables, a resync each minute, HTTP listening; agent and its helper together. CPU, that of nft included, is of ${MINUTES} minutes and scaled to an hour. Then syncs are asked for by SIGHUP, one after the other.`,
    columns: ["", "CPU of an hour", "resident", "anonymous"],
    rows: [
      ["idle", `${hour.cpu.toFixed(2)} s`, mb(hour.resident), mb(hour.anonymous)],
      ...growth.map(it => [`after ${it.syncs} syncs`, "", mb(it.resident), mb(it.anonymous)]),
    ],
    raw: { hour, growth },
  };
}

interface Running {
  readonly pid: number;
  readonly url: string;
  hangUp(): void;
}

async function withAgent<T>(measure: (agent: Running) => Promise<T>): Promise<T> {
  const agent = Bun.spawn([BINARY, "--config=/run/none", "--listen=127.0.0.1:0"], {
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
