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

async function once(run: Run, cidrs: readonly string[], folder: string, backend: string): Promise<void> {
  const config = await saveConfig(cidrs, folder);
  await mustRun(run, [BINARY, "run", "--once", `--backend=${backend}`, `--config=${config}`]);
}

/** Saves a config for ip-masq-agent and ipmasq by rename, and returns its path. */
export async function saveConfig(cidrs: readonly string[], folder: string): Promise<string> {
  const path = join(folder, "ip-masq-agent");
  const list = cidrs.map(cidr => `  - ${cidr}\n`).join("");
  await mkdir(folder, { recursive: true });
  await save(path, `cidrLimit: ${Math.max(cidrs.length, 64)}\nnonMasqueradeCIDRs:\n${list}`);
  return path;
}
