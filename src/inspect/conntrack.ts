import { readFile } from "node:fs/promises";

/** The fill level of the node's conntrack table. */
export interface Conntrack {
  readonly entries: number;
  readonly limit: number;
  /**
   * Connections dropped since boot because their entry could not be inserted, usually because no source port was free;
   * undefined if unknown. Connections that find the table full are not included (nf_conntrack_core.c counts `drop`).
   */
  readonly insertFailed?: number;
}

/**
 * The agent and its page do not read the entries of larger tables: reading 100,000 takes 0.5 s of CPU (measured on
 * kernel 6.18), and a client of the HTTP port must not keep the agent busy.
 */
export const MOST_ENTRIES = 100_000;

/** Reads it from the kernel. Undefined if the kernel does not track connections. */
export async function readConntrack(): Promise<Conntrack | undefined> {
  const [entries, limit, statistics] = await Promise.all([
    read("/proc/sys/net/netfilter/nf_conntrack_count"),
    read("/proc/sys/net/netfilter/nf_conntrack_max"),
    read("/proc/net/stat/nf_conntrack"),
  ]);
  if (entries === undefined || limit === undefined) return undefined;
  return {
    entries: Number(entries),
    limit: Number(limit),
    ...(statistics === undefined ? {} : { insertFailed: insertFailed(statistics) }),
  };
}

/** The file has a line of names, then a line of hexadecimal counts for each processor. */
function insertFailed(statistics: string): number {
  const [names = [], ...processors] = statistics
    .trim()
    .split("\n")
    .map(line => line.trim().split(/\s+/));
  const column = names.indexOf("insert_failed");
  return processors.reduce((sum, counts) => sum + Number.parseInt(counts[column] ?? "0", 16), 0);
}

function read(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined);
}
