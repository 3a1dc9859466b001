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
  const machines = [...new Set(kept.map(({ run }) => machineOf(run)))];
  const sections = kept.map(({ title, run, report: { how, chart, tables } }) => {
    const machine = machines.length > 1 ? `, machine ${machines.indexOf(machineOf(run)) + 1}` : "";
    const parts = [
      `## ${title}`,
      `${how} (\`${run.command}\`, ${run.date}, ${run.took} s${machine}.)`,
      chart === undefined ? "" : `![${chart.title}](results/${chart.name}.svg)`,
      ...tables.map(markdown),
    ];
    return parts.filter(Boolean).join("\n\n");
  });
  return `${[head(machines), targets(kept), ahead(kept), ...sections].join("\n\n")}\n`;
}

/** The machine of a run without the version of ip-masq-agent, which not every case runs. */
function machineOf({ versions: { "ip-masq-agent": _, ...versions }, ...run }: Run): string {
  return describeMachine({ ...run, versions });
}

function head(machines: readonly string[]): string {
  return `# Measured

    npm run bench                                  # all cases, 20 minutes
    npm run bench -- reaction                      # one case
    IP_MASQ_AGENT=/path/to/it npm run bench        # with the real ip-masq-agent
    IPMASQ_IMAGE=/path/to/image.tar npm run bench  # with the size of an image

\`npm run bench\` writes this page; \`results\` has every single figure. Machines are shared and noisy: compare figures of one run. Measured on:

${machines.map((machine, i) => `${i + 1}. ${machine}`).join("\n")}`;
}

function targets(kept: readonly Kept[]): string {
  const rows = kept.flatMap(({ report }) => (report.targets ?? []).flatMap(targetRows));
  return `## Targets

A "must" is required; an "aim" is a goal for later.

${markdown({ columns: ["what", "ip-masq-agent", "must", "aim", "measured", ""], rows })}

The causes of the missed targets:

- New connections: the kernel's look-up in an interval set. It costs the same in an
  anonymous set and in kindnet's rules, measured below.
- Beside a chain of iptables: the processor decides. Machine 1 evaluates a chain of 10,000
  rules 24,500 times a second, so a node that masquerades without any list is 10 times as
  fast. On an earlier machine it was 15,900 times.
- Memory with long lists: nft takes 72 MB for 45,000 elements in each of its processes, and
  the one that reports changes never returns it.
- A first load: nft needs over 100 ms of CPU for 10,000 elements, each with a counter and a
  comment. Netlink messages without nft would avoid them.
- Start, memory and CPU when idle: Bun accounts for 12 ms, 26 MB, and half of the 8 ms
  of a resync. To avoid this, ipmasq would need another runtime.

[CONTRIBUTING.md](../CONTRIBUTING.md#tried-and-not-kept) lists what was tried.`;
}

function ahead(kept: readonly Kept[]): string {
  const all = kept
    .flatMap(({ report }) => report.comparisons ?? [])
    .map(comparison => ({ ...comparison, at: comparison.at ?? "", leads: leads(comparison) }));
  const rows = Object.entries(Object.groupBy(all, ({ what }) => what)).flatMap(([what, same = []]) => {
    const best = same
      .flatMap(({ at, leads: [first] }) => (first ? [{ at, name: first[0], times: first[1] }] : []))
      .sort((a, b) => b.times - a.times)[0];
    return best ? [[what, best.times.toFixed(2), best.name, best.at]] : [];
  });
  const sum = (of: (it: (typeof all)[number]) => number) => all.reduce((total, it) => total + of(it), 0);
  return `## Where a baseline is ahead

In ${sum(it => it.leads.length)} of ${sum(it => it.others.length)} comparisons a baseline is ahead of ipmasq with nftables by more than the spread. The table shows the largest lead: how many times as good the best baseline is.

${markdown({ columns: ["", "times", "baseline", "at"], rows })}

Most baselines neither check a config nor verify their writes; ip-masq-agent checks one. Only the chains among them count packets per CIDR.`;
}
