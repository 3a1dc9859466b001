import { Nft } from "../nft/nft.ts";
import type { Host } from "../system/host.ts";
import type { NatHook } from "./nat-hook.ts";

/** The flags of nftables' tables, by family and name as in `ip nat`. Tables without flags are left out. */
export type TableFlags = ReadonlyMap<string, readonly string[]>;

/** Reads the flags of all tables. Throws ProgramError. */
export async function readTableFlags(programs: Host): Promise<TableFlags> {
  return programs.has("nft") ? new Nft(programs.argv("nft")).tableFlags() : new Map();
}

/** The flags of the table of a base chain. */
export function flagsOf({ family, table, tool }: NatHook, all: TableFlags): readonly string[] {
  return tool === "iptables-legacy" ? [] : (all.get(`${family} ${table}`) ?? []);
}

/** Whether the rules of a table do not run. */
export function isDormant(flags: readonly string[]): boolean {
  return flags.includes("dormant");
}

/**
 * The base chains whose rules run. If the flags cannot be read, all count as running: nft before 1.1.0 crashes on
 * `list tables` beside a newer nft. Throws nothing.
 */
export async function running(hooks: readonly NatHook[], programs: Host): Promise<readonly NatHook[]> {
  if (hooks.every(({ tool }) => tool === "iptables-legacy")) return hooks;
  const all = await readTableFlags(programs).catch(() => new Map());
  return hooks.filter(hook => !isDormant(flagsOf(hook, all)));
}
