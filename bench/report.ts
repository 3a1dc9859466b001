import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { CASES } from "./cases.ts";
import { leads } from "./comparison.ts";
import type { BenchmarkResult, Result, Table } from "./result.ts";
import { coloursOf, svg } from "./svg.ts";
import { targetRows } from "./targets.ts";

const RESULTS = join(import.meta.dir, "results");

/** Writes bench/README.md and its charts from the results that are kept. */
export async function report(): Promise<void> {
  const files = (await readdir(RESULTS)).filter(name => name.endsWith(".json"));
  const read: BenchmarkResult[] = await Promise.all(files.map(file => Bun.file(join(RESULTS, file)).json()));
  const results = read.toSorted((a, b) => place(a) - place(b));
  const charts = results.flatMap(({ charts = [] }) => charts);
  for (const chart of charts) {
    await Bun.write(join(RESULTS, `${chart.name}.svg`), svg(chart, coloursOf(charts)));
  }
  const parts = [HEAD, targets(results), ahead(results), ...results.map(it => section(it))];
  await Bun.write(join(import.meta.dir, "README.md"), parts.join("\n"));
}

/** A result of a case that is there no more comes first. */
function place({ name }: BenchmarkResult): number {
  return Object.keys(CASES).indexOf(name);
}

const HEAD = `# Measured

    npm run bench                                  # all of it, in less than 15 minutes
    npm run bench -- reaction                      # one case
    IP_MASQ_AGENT=/path/to/it npm run bench        # with a real ip-masq-agent among the baselines
    IPMASQ_IMAGE=/path/to/image.tar npm run bench  # with the size of an image

Made by \`npm run bench\`; the single numbers are in \`results\`. Machines are shared and
noisy: compare what one run measured, not figures of different machines.
`;

function targets(results: readonly BenchmarkResult[]): string {
  const rows = results.flatMap(result => (result.targets ?? []).flatMap(targetRows));
  return `## Targets

"Must" decides whether the work is done, "aim" is where the project wants to be.

${markdown({ columns: ["what", "ip-masq-agent", "must", "aim", "measured", ""], rows })}

${MISSED}
`;
}

/** What stands behind the goals that are not reached, and what it would take. */
const MISSED = `Of what is missed, and what it would take:

- The look-up in a set of intervals is the kernel's. It takes as long in an
  anonymous set and in kindnet's rules, which are measured below.
- A changed CIDR costs the kernel more than a first load because what stands is read
  before it is changed and after, each of which takes more than a tenth, and because
  the whole set is sent. Sending what differs would not help: nft reads a set before
  it adds to it. It would take to speak netlink without nft.
- Start, memory, and CPU when idle are Bun's for the most part: 12 ms, 26 MB, and
  half of the 8 ms of a resync. It would take another runtime.

[CONTRIBUTING.md](../CONTRIBUTING.md#tried-and-not-kept) has what was tried.`;

function ahead(results: readonly BenchmarkResult[]): string {
  const comparisons = results.flatMap(it => it.comparisons ?? []);
  const all = leads(comparisons);
  const columns = [...new Set(all.map(({ at }) => at))].toSorted((a, b) => count(a) - count(b));
  const rows = Object.values(Object.groupBy(all, ({ what, who }) => `${what} | ${who}`)).map((same = []) => [
    same[0]?.what ?? "",
    same[0]?.who ?? "",
    ...columns.map(column => same.find(({ at }) => at === column)?.times.toFixed(2) ?? ""),
  ]);
  const compared = comparisons.reduce((sum, { others }) => sum + others.length, 0);
  return `## Where somebody else is ahead

Of ${compared} comparisons ipmasq with nftables is behind in ${all.length}, by more than the
spread. How many times as good the other is:

${markdown({ columns: ["", "who is ahead", ...columns], rows })}

Most of the faster syncs are of what neither checks a config nor reads back what it
wrote; ip-masq-agent checks one. None of them has counters by CIDR but the chains.
`;
}

/** The number that a text begins with. */
function count(text: string): number {
  return Number.parseInt(text.replaceAll(",", ""), 10) || 0;
}

/** A result for people; `heading` is the mark of its level. */
export function section(result: Result | BenchmarkResult, heading = "##"): string {
  const { title, how, command, date, machine, versions } = result;
  const {
    tables,
    charts = [],
    notes = [],
    took,
  } = "tables" in result ? result : { tables: [result], took: undefined };
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const parts = [
    how,
    ...charts.map(chart => `![${chart.title}](results/${chart.name}.svg)`),
    ...tables.map(table => (table.caption === undefined ? "" : `${table.caption}:\n\n`) + markdown(table)),
    ...notes,
    `\`${command}\`, ${date}${took === undefined ? "" : `, ${took} s`}; ${machine}; ${programs.join(", ")}.`,
  ];
  return `${heading} ${title}\n\n${parts.join("\n\n")}\n`;
}

function markdown({ columns, rows }: Table): string {
  return [columns, columns.map(() => "---"), ...rows].map(cells => `| ${cells.join(" | ")} |`).join("\n");
}
