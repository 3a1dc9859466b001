/**
 * `npm run bench`: measures, prints tables, keeps the numbers in bench/results, and writes bench/README.md anew from
 * all that is there. With names of cases (`npm run bench -- reaction`) only those. Each runs by itself in namespaces of
 * its own; one that fails is told of, what it measured earlier stays, and the others go on. Exits with 1 then.
 */
import { CASES } from "./cases.ts";
import { report } from "./report.ts";

/** What no case takes longer than. */
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
    measuring.kill("SIGKILL"); // which ends all that runs in there
    process.exit(1);
  };
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.on(signal, end);
  const exitCode = await measuring.exited;
  for (const signal of signals) process.off(signal, end);
  if (exitCode === 0) continue;
  failed.push(name);
  const why = measuring.signalCode === null ? "" : `: it was killed, most likely after ${LIMIT_MS / 1000} s`;
  process.stderr.write(`${name} failed${why}\n`);
}
await report();
if (failed.length > 0) process.stderr.write(`failed: ${failed.join(", ")}\n`);
process.exitCode = failed.length > 0 ? 1 : 0;
