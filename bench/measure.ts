/** Measures one case, by its name, in the namespaces of lab/isolate: prints its tables and keeps its numbers. */
import { CASES } from "./cases.ts";
import { type BenchmarkResult, describeRun, type Table } from "./result.ts";

const [, , name = ""] = process.argv;
const measure = CASES[name];
if (measure === undefined) throw new Error(`there is no case ${name}`);
const began = performance.now();
const measured = await measure();
const took = Math.round((performance.now() - began) / 1000);
const result = { ...(await describeRun(name, measured)), took } satisfies BenchmarkResult;
await Bun.write(`${import.meta.dir}/results/${name}.json`, `${JSON.stringify(result)}\n`);
process.stdout.write(`${result.title} (${result.took} s)\n${result.tables.map(text).join("\n")}\n`);
for (const note of result.notes ?? []) process.stdout.write(`  ${note}\n`);
process.exit(0);

/** A table with its columns in line. */
function text({ caption, columns, rows }: Table): string {
  const widths = columns.map((_, i) => Math.max(...[columns, ...rows].map(row => row[i]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `  ${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ")}`.trimEnd();
  return `${[...(caption === undefined ? [] : [`  ${caption}`]), ...[columns, ...rows].map(line)].join("\n")}\n`;
}
