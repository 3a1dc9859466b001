import { ownChainNames } from "../backends/ownership.ts";
import type { Policy } from "../policy/policy.ts";
import { HOST, type Host } from "../system/host.ts";
import { within } from "../system/timing.ts";
import { chooseCommands } from "../xtables/variant.ts";
import type { Conflict } from "./conflict.ts";
import { readNatHooks } from "./foreign.ts";

/** How long the choice of a backend waits for the look at exemptions, in milliseconds. */
const PATIENCE_MS = 2000;

/** The question of `auto` about exemptions. */
export interface ExemptionQuestion {
  /** The chain that the agent is to have. */
  readonly chain: string;
  /** The policy; called only if something is exempted at all. */
  policy(): Promise<Policy>;
}

/**
 * Why only iptables preserves exemptions by foreign rules; undefined if no connection that the policy masquerades is
 * exempted, or if iptables would not preserve it either because the exemption is in the table of the other variant.
 * Takes 2 s at most. Throws what reading the policy throws.
 */
export async function exemptionKeptByIptables(
  { chain, policy }: ExemptionQuestion,
  programs: Host = HOST,
): Promise<string | undefined> {
  const look = async (): Promise<string | undefined> => {
    const all = masqueradingAll(chain);
    const limits = { time: PATIENCE_MS };
    const natOf = all.families.map(({ family }) => family);
    const own = ownChainNames(chain);
    const skip = (_family: string, _table: string, name: string) => own.includes(name);
    const { hooks } = await readNatHooks({ programs, limits, natOf, skip });
    if (hooks.length === 0) return undefined;
    // Rarely needed, and loading it takes some milliseconds.
    const { exemptions } = await import("./judge.ts");
    if (exemptions(hooks, all, "nftables").length === 0) return undefined;
    const found = exemptions(hooks, await policy(), "nftables");
    if (found.length === 0) return undefined;
    const choice = await chooseCommands(programs);
    const tool = choice?.tools.variant ?? "nft";
    const first = found.find(it => it.tool === tool);
    return first && `"${first.rule}" exempts ${exempted(first)}; only iptables preserves that`;
  };
  return within(PATIENCE_MS, look());
}

/** A policy that keeps nothing: if nothing is exempted from it, nothing is exempted from any policy. */
function masqueradingAll(chain: string): Policy {
  const none = { effective: [], redundant: [] };
  const families = (["ip", "ip6"] as const).map(family => ({
    family,
    sources: undefined,
    nonMasqueradeSources: none,
    masquerade: none,
    nonMasquerade: none,
  }));
  const enabled = families.map(({ family }) => family);
  return { families, enabled, outputInterfaces: undefined, chain, randomFully: false, toPorts: undefined };
}

/** The connections of an exemption, in a few words. */
function exempted({ exempts = [], sources, only }: Conflict): string {
  const from = sources ? ` from ${few(sources)}` : "";
  return `${only ?? "connections"}${from} to ${few(exempts)}`;
}

const FEW = 3;

function few(texts: readonly string[]): string {
  const more = texts.length > FEW ? ` and ${texts.length - FEW} more` : "";
  return texts.slice(0, FEW).join(" ") + more;
}
