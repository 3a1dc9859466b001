import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { section } from "../../bench/report.ts";
import { describeRun, type Measured, type Result } from "../../bench/result.ts";

const DOCS = join(import.meta.dirname, "../../docs");

/** The suites whose results are kept, in the order of the page, and what each of them tries. */
const SUITES = {
  kernels: `Kernels

Each kernel starts under qemu and runs the built binary.`,
  versions: `Versions of nft and iptables

Debian's releases on one node: what each version writes, each other one is to read
and to find in order.`,
  neighbours: `Neighbours

Programs that rewrite rules of their own on the same node, all the time, while new
connections go through it.`,
  failover: `A failing nft

nft begins to crash while the agent runs, or before it starts, and works again later.`,
  hostile: `Hostile input

Configs and HTTP requests that were made to do harm.`,
};

export type Suite = keyof typeof SUITES;

/** Keeps what a whole run of a suite found, in place of what the run before found, and writes docs/compatibility.md. */
export async function keepResults(suite: Suite, measured: readonly Measured[]): Promise<void> {
  const command = `npm run test:${suite}`;
  const results = await Promise.all(measured.map(it => describeRun(suite, it, command)));
  await mkdir(join(DOCS, "compatibility"), { recursive: true });
  await Bun.write(fileOf(suite), `${JSON.stringify(results, null, 2)}\n`);
  await writeCompatibility();
}

/** Writes docs/compatibility.md from all results that are kept. */
export async function writeCompatibility(): Promise<void> {
  await Bun.write(join(DOCS, "compatibility.md"), await compatibility());
}

/** The text of docs/compatibility.md. */
export async function compatibility(): Promise<string> {
  const parts = Object.entries(SUITES).map(async ([suite, head]) => {
    const results = await keptResults(suite);
    return results.length === 0 ? [] : [`## ${head}\n`, ...results.map(result => section(result, "###"))];
  });
  return [HEAD, ...(await Promise.all(parts)).flat()].join("\n");
}

/** What a suite found when it was last run; nothing if it never was. */
export async function keptResults(suite: string): Promise<readonly Result[]> {
  return existsSync(fileOf(suite)) ? await Bun.file(fileOf(suite)).json() : [];
}

function fileOf(suite: string): string {
  return join(DOCS, "compatibility", `${suite}.json`);
}

const HEAD = `# What it was tried with

    npm run test:kernels     # older kernels
    npm run test:versions    # nft and iptables of Debian's releases, together
    npm run test:neighbours  # other programs that write rules, at the same time
    npm run test:failover    # an nft that crashes while the agent runs
    npm run test:hostile     # configs and HTTP requests that were made to do harm

Each command writes its part of this page; the single numbers are in \`compatibility/\`.
A verdict is wrong when a connection arrives with the node's address that was to
keep its own, or the other way round.
`;
