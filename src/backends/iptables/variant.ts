import type { Family } from "../../net/cidr.ts";
import { type RunLimits, run } from "../../system/program.ts";
import type { Programs } from "./programs.ts";
import { Tools, type Variant } from "./tools.ts";

/** The iptables that a node's own components use, and why it is taken to be that one. */
export interface Choice {
  readonly tools: Tools;
  readonly reason: string;
}

/**
 * Finds out which variant of iptables to write with, as kubernetes-sigs' iptables-wrappers does: where there are
 * two, by the chains that kubelet leaves as a hint, and else by the number of rules. Undefined if there is none.
 */
export async function chooseTools(programs: Programs): Promise<Choice | undefined> {
  const all = await allTools(programs);
  const [first, second] = all;
  if (!first) return undefined;
  if (!second) return { tools: first, reason: `${first.variant} is the only iptables here` };
  for (const tools of all) {
    const hint = HINT.exec(await saved(tools, "mangle"))?.[1];
    if (hint !== undefined) return { tools, reason: `kubelet's chain ${hint} is in ${tools.variant}` };
  }
  const [nft, legacy] = await Promise.all(
    all.map(async tools => (await saved(tools)).match(/^-/gm)?.length ?? 0),
  );
  const more = (legacy ?? 0) > (nft ?? 0);
  const count = `iptables-nft has ${nft ?? 0} rules, iptables-legacy ${legacy ?? 0}`;
  return { tools: more ? second : first, reason: count };
}

/**
 * Those variants that are there, iptables-nft first.
 *
 * @param limits of each run that reads rules
 */
export async function allTools(programs: Programs, limits: RunLimits = {}): Promise<Tools[]> {
  const suffixed = (["iptables-nft", "iptables-legacy"] as const)
    .filter(variant => programs.has(variant))
    .map(variant => new Tools(variant, variant.slice("iptables".length), true, programs, undefined, limits));
  if (suffixed.length > 0 || !programs.has("iptables")) return suffixed;
  const { stdout } = await run([...programs.argv("iptables"), "--version"], limits);
  const variant: Variant = stdout.includes("nf_tables") ? "iptables-nft" : "iptables-legacy";
  return [new Tools(variant, "", knowsRandomFully(stdout), programs, undefined, limits)];
}

const HINT = /^:(KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY)\b/m;

/** `--random-fully` is there from 1.6.2 on. */
function knowsRandomFully(version: string): boolean {
  const [, major = 0, minor = 0, patch = 0] = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.map(Number) ?? [];
  return major * 10_000 + minor * 100 + patch >= 10_602;
}

/** What iptables-save prints of both families; of one table, or of all that are in use. */
async function saved(tools: Tools, table?: string): Promise<string> {
  const families: readonly Family[] = ["ip", "ip6"];
  return (await Promise.all(families.map(family => tools.print(family, table)))).join("\n");
}
