import { readFile } from "node:fs/promises";
import { arch, cpus, release, totalmem } from "node:os";
import { versionOf } from "../lab/output.ts";

/** When, how and on which machine something was measured. */
export interface Run {
  readonly name: string;
  readonly date: string;
  /** Measures it again. */
  readonly command: string;
  readonly machine: string;
  /** Versions of the programs that took part. */
  readonly versions: Readonly<Record<string, string>>;
}

/** Describes a run on this machine, today. */
export async function describeRun(name: string, command: string): Promise<Run> {
  const memory = Math.round(totalmem() / 2 ** 30);
  const user = process.env.LAB_USER ? ", without root" : "";
  return {
    name,
    date: new Date().toISOString().slice(0, 10),
    command,
    machine: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}, ${memory} GiB, ${arch()}${user}`,
    versions: {
      kernel: release(),
      Bun: Bun.version,
      nft: await versionOf("nft"),
      iptables: await versionOf("iptables"),
      ...(await upstreamAgent()),
      distribution: /PRETTY_NAME="(.*)"/.exec(await readFile("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    },
  };
}

/** ip-masq-agent prints no version, so its checksum stands for it. */
async function upstreamAgent(): Promise<Record<string, string>> {
  const path = process.env.IP_MASQ_AGENT;
  if (path === undefined) return {};
  const sum = new Bun.CryptoHasher("sha256").update(await Bun.file(path).bytes()).digest("hex");
  return { "ip-masq-agent": `of SHA-256 ${sum.slice(0, 12)}` };
}

/** The machine and the programs of a run, in one line. */
export function describeMachine({ machine, versions }: Run): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${machine}; ${programs.join(", ")}`;
}

export interface Table {
  readonly caption?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export function markdown({ caption, columns, rows }: Table): string {
  const lines = [columns, columns.map(() => "---"), ...rows].map(cells => `| ${cells.join(" | ")} |`);
  return `${caption === undefined ? "" : `${caption}:\n\n`}${lines.join("\n")}`;
}
