import { createReadStream, existsSync } from "node:fs";
import type { Family } from "../net/cidr.ts";
import { codeOf, messageOf } from "../system/errors.ts";
import { HOST, type Host } from "../system/host.ts";
import { type FailureKind, ProgramError, run } from "../system/program.ts";
import type { Entry } from "./entry.ts";
import { EntryParser } from "./parse.ts";

/** The table as a file; only kernels with CONFIG_NF_CONNTRACK_PROCFS have it. */
const PROC = "/proc/net/nf_conntrack";
/** Milliseconds. `conntrack` lists a million entries in 4 s (measured on kernel 6.18). */
const DEADLINE_MS = 120_000;

/**
 * Reads the node's conntrack table with the program `conntrack`, or from /proc if it is not installed. The program is
 * preferred, because before Linux 6.17 each read of the file begins with the first entry again.
 *
 * @param visit receives each entry; the object is valid until it returns
 * @throws ProgramError if the table cannot be read
 */
export async function readEntries(
  families: readonly Family[],
  visit: (entry: Entry) => void,
  programs: Host = HOST,
): Promise<void> {
  if (programs.has("conntrack")) {
    for (const family of families) await listed(family, visit, programs);
    return;
  }
  const argv = ["conntrack", "-L"];
  if (!existsSync(PROC)) {
    const what = `is not installed, and ${PROC} does not exist`;
    throw new ProgramError("not-found", argv.join(" "), what, "install the package conntrack");
  }
  const parser = new EntryParser(entry => families.includes(entry.family) && visit(entry));
  try {
    for await (const piece of createReadStream(PROC)) parser.read(piece);
  } catch (error) {
    const kind = codeOf(error) === "EACCES" ? "not-permitted" : "refused";
    throw new ProgramError(kind, `read ${PROC}`, messageOf(error), REMEDIES[kind] ?? "");
  }
}

async function listed(family: Family, visit: (entry: Entry) => void, programs: Host): Promise<void> {
  const parser = new EntryParser(visit);
  const name = family === "ip" ? "ipv4" : "ipv6";
  const argv = [...programs.argv("conntrack"), "-L", "-f", name, "-o", "extended,id"];
  const receive = (piece: Uint8Array) => parser.read(piece);
  const limits = { deadline: DEADLINE_MS, mostOutput: Number.POSITIVE_INFINITY };
  const { exitCode, stderr } = await run(argv, { receive, ...limits });
  if (exitCode === 0) return;
  const what = stderr.trim().split("\n").at(-1) || `exit code ${exitCode}`;
  const kind: FailureKind = /not permitted|must be root|need to be root/i.test(what)
    ? "not-permitted"
    : "refused";
  throw new ProgramError(kind, argv.join(" "), what, REMEDIES[kind] ?? "", exitCode);
}

const REMEDIES: { readonly [kind in FailureKind]?: string } = {
  "not-permitted": "run as root, or with the capability NET_ADMIN",
};
