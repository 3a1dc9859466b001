/**
 * `npm run bench`: measures, prints tables, keeps the numbers in bench/results, and writes bench/README.md anew from
 * all that is there. With names of cases (`npm run bench -- reaction`) only those.
 */
import { idle } from "./idle.ts";
import { reaction } from "./reaction.ts";
import { report } from "./report.ts";
import { describeRun, type Measured } from "./result.ts";

const CASES: Readonly<Record<string, () => Promise<Measured>>> = { reaction, idle };

const names = process.argv.slice(2);
const unknown = names.filter(name => !(name in CASES));
if (unknown.length > 0) {
  process.stderr.write(`no such case: ${unknown.join(", ")}; there are ${Object.keys(CASES).join(", ")}\n`);
  process.exit(64);
}
for (const [name, measure] of Object.entries(CASES)) {
  if (names.length > 0 && !names.includes(name)) continue;
  process.stdout.write(`${name} …\n`);
  const result = await describeRun(name, await measure());
  await Bun.write(`${import.meta.dir}/results/${name}.json`, `${JSON.stringify(result)}\n`);
  const table = [result.columns, ...result.rows].map(row => `  ${row.join("  |  ")}\n`).join("");
  process.stdout.write(`${result.title}\n${table}`);
}
await report();
process.exit(0);
