import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BINARY } from "../../lab/agent.ts";
import { save } from "../../lab/save.ts";
import { type Baseline, mustRun, type Run } from "./baseline.ts";

/** The built binary, as `ipmasq run --once`. */
export const IPMASQ: Baseline = {
  name: "ipmasq nftables",
  ours: true,
  linear: false,
  sync: (run, cidrs, folder) => once(run, cidrs, folder, "nftables"),
};

export const IPMASQ_IPTABLES: readonly Baseline[] = ["iptables-nft", "iptables-legacy"].map(variant => ({
  name: `ipmasq ${variant}`,
  ours: true,
  linear: true,
  // kubelet makes this chain too; ipmasq then chooses this variant.
  prepare: run => mustRun(run, [variant, "-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]),
  sync: (run, cidrs, folder) => once(run, cidrs, folder, "iptables"),
}));

/** The same with `enforceNonMasquerade`. */
export const IPMASQ_ENFORCING: readonly Baseline[] = [IPMASQ, ...IPMASQ_IPTABLES].map(it => ({
  ...it,
  name: `${it.name}, enforceNonMasquerade`,
  sync: (run, cidrs, folder) =>
    once(run, cidrs, folder, it === IPMASQ ? "nftables" : "iptables", "enforceNonMasquerade: true\n"),
}));

async function once(
  run: Run,
  cidrs: readonly string[],
  folder: string,
  backend: string,
  more = "",
): Promise<void> {
  const config = await saveConfig(cidrs, folder, more);
  await mustRun(run, [BINARY, "run", "--once", `--backend=${backend}`, `--config=${config}`]);
}

/**
 * Saves a config for ip-masq-agent and ipmasq by rename, and returns its path.
 *
 * @param more further keys of ipmasq
 */
export async function saveConfig(cidrs: readonly string[], folder: string, more = ""): Promise<string> {
  const path = join(folder, "ip-masq-agent");
  const list = cidrs.map(cidr => `  - ${cidr}\n`).join("");
  await mkdir(folder, { recursive: true });
  await save(path, `cidrLimit: ${Math.max(cidrs.length, 64)}\nnonMasqueradeCIDRs:\n${list}${more}`);
  return path;
}
