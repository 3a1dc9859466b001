/** Renders bench/README.md and its chart from the kept results; `npm run docs` does it too. */
import { join } from "node:path";
import type { Report } from "./case.ts";
import { CASES } from "./cases.ts";
import { leads } from "./comparison.ts";
import { describeMachine, markdown, type Run } from "./run.ts";
import { svg } from "./svg.ts";
import { targetRows } from "./targets.ts";

const RESULTS = join(import.meta.dir, "results");

interface Kept {
  readonly title: string;
  readonly run: Run & { readonly took: number };
  readonly report: Report;
}

export async function writeReport(): Promise<void> {
  const kept = await keptResults();
  for (const { chart } of kept.map(({ report }) => report)) {
    if (chart !== undefined) await Bun.write(join(RESULTS, `${chart.name}.svg`), svg(chart));
  }
  await Bun.write(join(import.meta.dir, "README.md"), page(kept));
}

/** The text of bench/README.md. */
export async function renderReport(): Promise<string> {
  return page(await keptResults());
}

/** The file that a case keeps its result in. */
export function resultFile(name: string): string {
  return join(RESULTS, `${name}.json`);
}

async function keptResults(): Promise<Kept[]> {
  const kept = Object.entries(CASES).map(async ([name, { title, show }]): Promise<Kept[]> => {
    const file = Bun.file(resultFile(name));
    if (!(await file.exists())) return [];
    return [{ title, run: await file.json(), report: await show(resultFile(name)) }];
  });
  return (await Promise.all(kept)).flat();
}

function page(kept: readonly Kept[]): string {
  const [first] = kept;
  const machine = first === undefined ? "" : describeMachine(first.run);
  const sections = kept.map(({ title, run, report: { how, chart, tables } }) => {
    const elsewhere = describeMachine(run) === machine ? "" : `; ${describeMachine(run)}`;
    const parts = [
      `## ${title}`,
      `${how} (\`${run.command}\`, ${run.date}, ${run.took} s${elsewhere}.)`,
      chart === undefined ? "" : `![${chart.title}](results/${chart.name}.svg)`,
      ...tables.map(markdown),
    ];
    return parts.filter(Boolean).join("\n\n");
  });
  return `${[head(machine), targets(kept), ahead(kept), ...sections].join("\n\n")}\n`;
}

function head(machine: string): string {
  return `# Measured

    npm run bench                                  # all cases, 20 minutes
    npm run bench -- reaction                      # one case
    IP_MASQ_AGENT=/path/to/it npm run bench        # with the real ip-masq-agent
    IPMASQ_IMAGE=/path/to/image.tar npm run bench  # with the size of an image

\`npm run bench\` writes this page; \`results\` has every single figure. Machines are shared and noisy: compare figures of one run. Measured on ${machine}.`;
}

function targets(kept: readonly Kept[]): string {
  const rows = kept.flatMap(({ report }) => (report.targets ?? []).flatMap(targetRows));
  return `## Targets

A "must" is required; an "aim" is a goal for later.

${markdown({ columns: ["what", "ip-masq-agent", "must", "aim", "measured", ""], rows })}

The causes of the missed targets:

- New connections: the kernel's look-up in an interval set. It costs the same in an
  anonymous set and in kindnet's rules, measured below.
- A first load: nft needs over 100 ms of CPU for 10,000 elements, each with a counter and a
  comment, and \`run --once\` reads them back. Netlink messages without nft would avoid both.
- Start, memory and CPU when idle: Bun accounts for 12 ms, 26 MB, and half of the 8 ms
  of a resync. To avoid this, ipmasq would need another runtime.

[CONTRIBUTING.md](../CONTRIBUTING.md#tried-and-not-kept) lists what was tried.`;
}

function ahead(kept: readonly Kept[]): string {
  const all = kept
    .flatMap(({ report }) => report.comparisons ?? [])
    .map(comparison => ({ ...comparison, at: comparison.at ?? "", leads: leads(comparison) }));
  const behind = all.filter(it => it.leads.length > 0);
  const columns = [...new Set(behind.map(({ at }) => at))].sort((a, b) => leading(a) - leading(b));
  const rows = Object.entries(Object.groupBy(behind, ({ what }) => what)).map(([what, same = []]) => [
    what,
    ...columns.map(column => {
      const [best] = same.find(({ at }) => at === column)?.leads ?? [];
      return best === undefined ? "" : `${best[1].toFixed(2)} ${best[0]}`;
    }),
  ]);
  const sum = (of: (it: (typeof all)[number]) => number) => all.reduce((total, it) => total + of(it), 0);
  return `## Where a baseline is ahead

In ${sum(it => it.leads.length)} of ${sum(it => it.others.length)} comparisons a baseline is ahead of ipmasq with nftables by more than the spread. The table shows the best baseline and how many times as good it is.

${markdown({ columns: ["", ...columns], rows })}

Most baselines neither check a config nor verify their writes; ip-masq-agent checks one. Only the chains among them count packets per CIDR.`;
}

/** The number that a text starts with. */
function leading(text: string): number {
  return Number.parseInt(text.replaceAll(",", ""), 10) || 0;
}
