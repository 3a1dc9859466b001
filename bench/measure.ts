/** Measures one case inside lab/isolate: keeps its figures and prints its tables. */
import { CASES } from "./cases.ts";
import { resultFile } from "./report.ts";
import { describeRun, markdown } from "./run.ts";

const [, , name = ""] = process.argv;
const measured = CASES[name];
if (measured === undefined) throw new Error(`there is no case ${name}`);
const began = performance.now();
const raw = await measured.measure();
const took = Math.round((performance.now() - began) / 1000);
const agent = process.env.IP_MASQ_AGENT ? "IP_MASQ_AGENT=… " : "";
const run = await describeRun(name, `${agent}npm run bench -- ${name}`);
await Bun.write(resultFile(name), `${JSON.stringify({ ...run, took, raw })}\n`);
const { tables } = await measured.show(resultFile(name));
process.stdout.write(`${measured.title} (${took} s)\n\n${tables.map(markdown).join("\n\n")}\n`);
process.exit(0);
