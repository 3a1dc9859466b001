import { readFile } from "node:fs/promises";
import { arch, cpus, release, totalmem } from "node:os";
import { output } from "../lab/output.ts";

/** What a case measured, as a table and as the numbers that it was made of. */
export interface Measured {
  readonly title: string;
  /** How it was measured, for the reader of the table. */
  readonly how: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** All single numbers, by what they belong to. */
  readonly raw: unknown;
}

/** A measurement with all that another one needs to be compared with it. */
export interface Result extends Measured {
  readonly name: string;
  readonly date: string;
  readonly command: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** @param command that measures it again */
export async function describeRun(
  name: string,
  measured: Measured,
  command = `npm run bench -- ${name}`,
): Promise<Result> {
  const gib = Math.round(totalmem() / 2 ** 30);
  return {
    name,
    date: new Date().toISOString().slice(0, 10),
    command,
    machine: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, ${gib} GiB, ${arch()}`,
    versions: {
      kernel: release(),
      Bun: Bun.version,
      nft: await version("nft"),
      iptables: await version("iptables"),
      distribution: /PRETTY_NAME="(.*)"/.exec(await readFile("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    },
    ...measured,
  };
}

/** The number in what `--version` says. */
async function version(program: string): Promise<string> {
  return /v(\d+(?:\.\d+)+)/.exec(await output([program, "--version"]))?.[1] ?? "unknown";
}

/** The value below which the given share of all lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.ceil(share * sorted.length), sorted.length) - 1] ?? Number.NaN;
}
