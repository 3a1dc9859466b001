import { FAMILIES } from "../net/cidr.ts";
import type { Host } from "../system/host.ts";
import { failureKind, type RunLimits, run } from "../system/program.ts";
import { IptablesCommands, type Variant } from "./commands.ts";

/** The iptables that the components of a node use, and the reason for this choice. */
export interface Choice {
  readonly commands: IptablesCommands;
  readonly reason: string;
}

/**
 * Chooses the variant of iptables to write with, as kubernetes-sigs' iptables-wrappers does. If two variants are
 * installed, kubelet's hint chains decide, or without them the number of rules. Undefined if iptables is not
 * installed.
 */
export async function chooseCommands(host: Host): Promise<Choice | undefined> {
  const all = await allCommands(host);
  const [first, second] = all;
  if (!first) return undefined;
  if (!second) return { commands: first, reason: `${first.variant} is the only iptables installed` };
  for (const commands of all) {
    const hint = HINT.exec(await saved(commands, "mangle"))?.[1];
    if (hint !== undefined) return { commands, reason: `kubelet's chain ${hint} is in ${commands.variant}` };
  }
  const [nft = 0, legacy = 0] = await Promise.all(all.map(countRules));
  const [inNft, inLegacy] = [nft, legacy].map(it => (it > MOST_COUNTED ? `over ${MOST_COUNTED}` : `${it}`));
  const reason = `iptables-nft has ${inNft} rules, iptables-legacy ${inLegacy}`;
  return { commands: legacy > nft ? second : first, reason };
}

/** The number of rules in all tables of one variant; infinite above MOST_COUNTED. */
async function countRules(commands: IptablesCommands): Promise<number> {
  try {
    const text = await saved(commands, undefined, LIMITS);
    const rules = text.match(/^-/gm)?.length ?? 0;
    return rules > MOST_COUNTED ? Number.POSITIVE_INFINITY : rules;
  } catch (error) {
    const kind = failureKind(error);
    if (kind === "too-large" || kind === "timed-out") return Number.POSITIVE_INFINITY;
    throw error;
  }
}

const MOST_COUNTED = 10_000;
/** iptables-nft-save takes 5 s and prints 8 MB for 64,000 rules of kube-proxy; 10,000 rules take a sixth of that. */
const LIMITS: RunLimits = { mostOutput: 2 * 1024 * 1024, deadline: 2000 };

/**
 * The installed variants, iptables-nft first.
 *
 * @param limits the limits of each run that reads rules
 */
export async function allCommands(host: Host, limits: RunLimits = {}): Promise<IptablesCommands[]> {
  const suffixed = (["iptables-nft", "iptables-legacy"] as const)
    .filter(variant => host.has(variant))
    .map(
      variant =>
        new IptablesCommands(variant, variant.slice("iptables".length), true, host, undefined, limits),
    );
  if (suffixed.length > 0 || !host.has("iptables")) return suffixed;
  const { stdout } = await run([...host.argv("iptables"), "--version"], limits);
  const variant: Variant = stdout.includes("nf_tables") ? "iptables-nft" : "iptables-legacy";
  return [new IptablesCommands(variant, "", knowsRandomFully(stdout), host, undefined, limits)];
}

const HINT = /^:(KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY)\b/m;

/** iptables has `--random-fully` since 1.6.2. */
function knowsRandomFully(version: string): boolean {
  const [, major = 0, minor = 0, patch = 0] = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.map(Number) ?? [];
  return major * 10_000 + minor * 100 + patch >= 10_602;
}

/** The output of iptables-save for both families, of one table or of all tables in use. */
async function saved(commands: IptablesCommands, table?: string, limits?: RunLimits): Promise<string> {
  return (await Promise.all(FAMILIES.map(family => commands.print(family, table, limits)))).join("\n");
}
