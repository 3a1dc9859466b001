import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { describeMachine, describeRun, markdown, type Run, type Table } from "../../bench/run.ts";

const DOCS = join(import.meta.dirname, "../../docs");

/** A table of results, and the raw figures. */
export interface Measured extends Table {
  readonly title: string;
  /** How the results were measured, for readers of the table. */
  readonly how: string;
  readonly raw: unknown;
}

/** The suites whose results are kept, in the order of the page, with the heading and question of each. */
const SUITES = {
  kernels: `Kernels

Does the built binary work on older kernels?`,
  versions: `Versions of nft and iptables

Does each version read the rules that another one wrote, and find them in sync?`,
  cluster: `Kubernetes

Do connections of Pods have the right address while the agent is installed, upgraded, restarted and removed?`,
  neighbours: `Neighbours

Do other programs that keep rewriting their own rules disturb ipmasq, or does ipmasq disturb them?`,
  failover: `A failing nft

How soon does another backend write the rules if nft crashes?`,
  hostile: `Hostile input

Can malicious configs and HTTP requests stop the agent?`,
};

export type Suite = keyof typeof SUITES;

/** Replaces the stored results of a suite, and updates docs/compatibility.md. */
export async function keepResults(suite: Suite, measured: readonly Measured[]): Promise<void> {
  const command = `npm run test:${suite}`;
  const run = await describeRun(suite, command);
  const results = measured.map(it => ({ ...run, ...it }));
  await mkdir(join(DOCS, "compatibility"), { recursive: true });
  await Bun.write(fileOf(suite), `${JSON.stringify(results, null, 2)}\n`);
  await writeCompatibility();
}

/** Writes docs/compatibility.md from all stored results. */
export async function writeCompatibility(): Promise<void> {
  await Bun.write(join(DOCS, "compatibility.md"), await compatibility());
}

/** The text of docs/compatibility.md. */
export async function compatibility(): Promise<string> {
  const parts = Object.entries(SUITES).map(async ([suite, head]) => {
    const results = await keptResults(suite);
    return results.length === 0 ? [] : [`## ${head}\n`, ...results.map(section)];
  });
  return [HEAD, ...(await Promise.all(parts)).flat()].join("\n");
}

/** The stored results of a suite; empty if it never ran. */
export async function keptResults(suite: string): Promise<readonly (Measured & Run)[]> {
  return existsSync(fileOf(suite)) ? await Bun.file(fileOf(suite)).json() : [];
}

function section(result: Measured & Run): string {
  const { title, how, columns, rows, command, date } = result;
  const run = `\`${command}\`, ${date}; ${describeMachine(result)}.`;
  return `### ${title}\n\n${[how, markdown({ columns, rows }), run].join("\n\n")}\n`;
}

function fileOf(suite: string): string {
  return join(DOCS, "compatibility", `${suite}.json`);
}

const HEAD = `# Compatibility

Look up whether ipmasq was tested with your kernel, nft, iptables or other programs. Each command runs a suite and
updates its part of this page and of \`compatibility/\`, which has the raw numbers:

    npm run test:kernels     # older kernels
    npm run test:versions    # nft and iptables of Debian's releases, in pairs
    npm run test:cluster     # Pods on Kubernetes
    npm run test:neighbours  # other programs that write rules at the same time
    npm run test:failover    # an nft that crashes while the agent runs
    npm run test:hostile     # malicious configs and HTTP requests

A verdict is wrong if a kept connection arrives with the node's address, or a masqueraded connection with the Pod's.
`;
