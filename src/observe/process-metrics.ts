import { readdirSync, readFileSync } from "node:fs";
import type { Metric } from "./metric.ts";

/** The standard process metrics of Prometheus' client libraries, for the agent without the programs that it runs. */
export const PROCESS_METRICS = [
  {
    name: "process_cpu_seconds_total",
    type: "counter",
    help: "CPU time of the agent's process in seconds, without the programs that it runs.",
    read() {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
  },
  {
    name: "process_resident_memory_bytes",
    type: "gauge",
    help: "Resident memory of the agent's process in bytes.",
    read: () => process.memoryUsage.rss(),
  },
  {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "Unix time when the agent's process started.",
    read: () => performance.timeOrigin / 1000,
  },
  {
    name: "process_open_fds",
    type: "gauge",
    help: "Open file descriptors of the agent's process.",
    read: () => readdirSync("/proc/self/fd").length - 1, // one of them is the folder's own
  },
  {
    name: "process_max_fds",
    type: "gauge",
    help: "Maximum number of file descriptors that the agent's process may open.",
    read: openFilesLimit,
  },
] as const satisfies readonly Metric[];

/** The maximum number of files that this process may have open. */
export function openFilesLimit(): number {
  const limit = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  return Number(limit ?? DEFAULT_LIMIT);
}

const DEFAULT_LIMIT = 1024;
