import { readFile } from "node:fs/promises";

/** How full the node's table of connections is. */
export interface Conntrack {
  readonly entries: number;
  readonly limit: number;
  /** Connections that found no place, or no free port, since the node started; undefined if the kernel hides it. */
  readonly insertFailed?: number;
}

/** Asks the kernel. Undefined if it tracks no connections. */
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

/** A line of names, then one of hexadecimal counts for each processor. */
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
