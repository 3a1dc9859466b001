/**
 * `npm run bench`: measures all cases or the named ones (`npm run bench -- reaction`), keeps their figures in
 * bench/results, and renders bench/README.md. Each case runs alone, in its own namespaces. If one fails, its earlier
 * result stays, the others still run, and the exit code is 1.
 */
import { CASES } from "./cases.ts";
import { writeReport } from "./report.ts";

/** No case takes longer. */
const LIMIT_MS = 400_000;

const names = process.argv.slice(2);
const unknown = names.filter(name => !(name in CASES));
if (unknown.length > 0) {
  process.stderr.write(`no such case: ${unknown.join(", ")}; there are ${Object.keys(CASES).join(", ")}\n`);
  process.exit(64);
}
const failed: string[] = [];
for (const name of names.length > 0 ? names : Object.keys(CASES)) {
  process.stdout.write(`${name} …\n`);
  const argv = [`${import.meta.dir}/../lab/isolate`, process.execPath, `${import.meta.dir}/measure.ts`, name];
  const measuring = Bun.spawn(argv, {
    stdio: ["ignore", "inherit", "inherit"],
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  const end = () => {
    measuring.kill("SIGKILL"); // this ends everything inside lab/isolate
    process.exit(1);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, end);
  const exitCode = await measuring.exited;
  for (const signal of signals) process.off(signal, end);
  if (exitCode === 0) continue;
  failed.push(name);
  const why =
    measuring.signalCode === null ? "" : `: killed, most likely by the limit of ${LIMIT_MS / 1000} s`;
  process.stderr.write(`${name} failed${why}\n`);
}
await writeReport();
if (failed.length > 0) process.stderr.write(`failed: ${failed.join(", ")}\n`);
process.exitCode = failed.length > 0 ? 1 : 0;
