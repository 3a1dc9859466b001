import { readFile } from "node:fs/promises";
import { arch, cpus, release, totalmem } from "node:os";
import { versionOf } from "../lab/output.ts";
import type { Chart } from "./chart.ts";
import type { Comparison } from "./comparison.ts";
import type { Target } from "./targets.ts";

/** What was measured, as a table and as the numbers that it was made of. */
export interface Measured extends Table {
  readonly title: string;
  /** How it was measured, for the reader of the table. */
  readonly how: string;
  /** All single numbers, by what they belong to. */
  readonly raw: unknown;
}

/** What a case of the bench measured. */
export interface Benchmark extends Omit<Measured, keyof Table> {
  readonly tables: readonly Table[];
  readonly charts?: readonly Chart[];
  /** What ipmasq and others did at the same work. */
  readonly comparisons?: readonly Comparison[];
  readonly targets?: readonly Target[];
  /** What else there is to know, a sentence each: who does not get there, and why. */
  readonly notes?: readonly string[];
}

export interface Table {
  readonly caption?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** What another measurement needs to be compared with one. */
interface Run {
  readonly name: string;
  readonly date: string;
  readonly command: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
}

export type Result = Measured & Run;

/** `took` is in seconds. */
export type BenchmarkResult = Benchmark & Run & { readonly took: number };

/** @param command that measures it again */
export async function describeRun<T extends Measured | Benchmark>(
  name: string,
  measured: T,
  command = `${process.env.IP_MASQ_AGENT ? "IP_MASQ_AGENT=… " : ""}npm run bench -- ${name}`,
): Promise<T & Run> {
  const gib = Math.round(totalmem() / 2 ** 30);
  const user = process.env.LAB_USER ? ", without root" : "";
  const run: Run = {
    name,
    date: new Date().toISOString().slice(0, 10),
    command,
    machine: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, ${gib} GiB, ${arch()}${user}`,
    versions: {
      kernel: release(),
      Bun: Bun.version,
      nft: await versionOf("nft"),
      iptables: await versionOf("iptables"),
      ...(await upstreamAgent()),
      distribution: /PRETTY_NAME="(.*)"/.exec(await readFile("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    },
  };
  return { ...run, ...measured };
}

/** The real ip-masq-agent among the baselines, which has no version to print. */
async function upstreamAgent(): Promise<Record<string, string>> {
  const path = process.env.IP_MASQ_AGENT;
  if (path === undefined) return {};
  const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(path).bytes()).digest("hex");
  return { "ip-masq-agent": `of SHA-256 ${sum.slice(0, 12)}` };
}
