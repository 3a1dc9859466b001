import type { Family } from "../net/cidr.ts";
import type { Host } from "../system/host.ts";
import { failureKind, type RunLimits, run } from "../system/program.ts";
import { IptablesCommands, type Variant } from "./commands.ts";

/** The iptables that a node's own components use, and why it is taken to be that one. */
export interface Choice {
  readonly tools: IptablesCommands;
  readonly reason: string;
}

/**
 * Finds out which variant of iptables to write with, as kubernetes-sigs' iptables-wrappers does: where there are
 * two, by the chains that kubelet leaves as a hint, and else by the number of rules. Undefined if there is none.
 */
export async function chooseCommands(programs: Host): Promise<Choice | undefined> {
  const all = await allCommands(programs);
  const [first, second] = all;
  if (!first) return undefined;
  if (!second) return { tools: first, reason: `${first.variant} is the only iptables installed` };
  for (const tools of all) {
    const hint = HINT.exec(await saved(tools, "mangle"))?.[1];
    if (hint !== undefined) return { tools, reason: `kubelet's chain ${hint} is in ${tools.variant}` };
  }
  const [nft = 0, legacy = 0] = await Promise.all(all.map(countRules));
  const [inNft, inLegacy] = [nft, legacy].map(it => (it > MOST_COUNTED ? `over ${MOST_COUNTED}` : `${it}`));
  const reason = `iptables-nft has ${inNft} rules, iptables-legacy ${inLegacy}`;
  return { tools: legacy > nft ? second : first, reason };
}

/** The rules in all tables of one variant; infinite if they are more than have to be counted. */
async function countRules(tools: IptablesCommands): Promise<number> {
  try {
    const text = await saved(tools, undefined, LIMITS);
    const rules = text.match(/^-/gm)?.length ?? 0;
    return rules > MOST_COUNTED ? Number.POSITIVE_INFINITY : rules;
  } catch (error) {
    const kind = failureKind(error);
    if (kind === "too-large" || kind === "timed-out") return Number.POSITIVE_INFINITY;
    throw error;
  }
}

const MOST_COUNTED = 10_000;
/** iptables-nft-save takes 5 s and prints 8 MB for 64,000 rules of kube-proxy; 10,000 are a sixth of that. */
const LIMITS: RunLimits = { mostOutput: 2 * 1024 * 1024, deadline: 2000 };

/**
 * Those variants that are there, iptables-nft first.
 *
 * @param limits of each run that reads rules
 */
export async function allCommands(programs: Host, limits: RunLimits = {}): Promise<IptablesCommands[]> {
  const suffixed = (["iptables-nft", "iptables-legacy"] as const)
    .filter(variant => programs.has(variant))
    .map(
      variant =>
        new IptablesCommands(variant, variant.slice("iptables".length), true, programs, undefined, limits),
    );
  if (suffixed.length > 0 || !programs.has("iptables")) return suffixed;
  const { stdout } = await run([...programs.argv("iptables"), "--version"], limits);
  const variant: Variant = stdout.includes("nf_tables") ? "iptables-nft" : "iptables-legacy";
  return [new IptablesCommands(variant, "", knowsRandomFully(stdout), programs, undefined, limits)];
}

const HINT = /^:(KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY)\b/m;

/** `--random-fully` is there from 1.6.2 on. */
function knowsRandomFully(version: string): boolean {
  const [, major = 0, minor = 0, patch = 0] = /v(\d+)\.(\d+)\.(\d+)/.exec(version)?.map(Number) ?? [];
  return major * 10_000 + minor * 100 + patch >= 10_602;
}

/** What iptables-save prints of both families; of one table, or of all that are in use. */
async function saved(tools: IptablesCommands, table?: string, limits?: RunLimits): Promise<string> {
  const families: readonly Family[] = ["ip", "ip6"];
  return (await Promise.all(families.map(family => tools.print(family, table, limits)))).join("\n");
}
