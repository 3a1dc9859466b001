import type { Policy } from "../policy/policy.ts";
import { HOST, type Host } from "../system/host.ts";
import { ProgramError } from "../system/program.ts";
import { allCommands, chooseCommands } from "../xtables/variant.ts";
import type { Backend } from "./backend.ts";
import { IptablesBackend } from "./iptables/backend.ts";
import { NftNatBackend } from "./iptables/nft-backend.ts";
import { MigratingBackend } from "./migrating-backend.ts";
import { NftablesBackend } from "./nftables/backend.ts";

/** What the rules are written with, and why. */
export interface Chosen {
  readonly backend: MigratingBackend;
  readonly reason: string;
  /** What would be chosen if its program did not fail now, and how it fails. */
  readonly preferred?: MigratingBackend;
  readonly failure?: string;
  /** All that `--backend` allows, the chosen one included; preferred ones first. */
  readonly alternatives: readonly MigratingBackend[];
  /** The nftables backend, where nft is installed. */
  readonly nftables: Backend | undefined;
}

export interface ChooseOptions {
  readonly requested: "auto" | "nftables" | "iptables";
  /** What has to be written, for `auto` to try. */
  readonly policy: Policy;
  readonly programs?: Host;
  /**
   * Why only iptables preserves exemptions by foreign rules; undefined if there are none that matter. `auto` calls it
   * while it probes nft. It throws nothing and takes 2 s at most.
   */
  readonly exemption?: () => Promise<string | undefined>;
}

/** A backend, without its alternatives. */
interface Choice {
  readonly backend: Backend;
  readonly reason: string;
  /** A better one whose program fails now, and how. */
  readonly failing?: Backend;
  readonly failure?: string;
  /** Whether its program hangs: then it is not called again here. */
  readonly hangs?: boolean;
}

/** Chooses what the rules are written with. Throws ProgramError if there is nothing to write them with. */
export async function chooseBackend(options: ChooseOptions): Promise<Chosen> {
  const { programs = HOST, policy, requested } = options;
  const all = await everyBackend(policy.chain, programs);
  const { backend, reason, failing, failure, hangs } = await choose(options, programs, all);
  const keepers = new Map(all.map(it => [it, new MigratingBackend(it, all)]));
  const chosen = keepers.get(backend) ?? new MigratingBackend(backend, all);
  const preferred = failing && keepers.get(failing);
  const nftables = all.find(it => it.name === "nftables");
  if (failing && nftables === failing && (hangs || (await mayRemain(failing)))) chosen.enforceKept(true);
  const allowed = [...keepers].flatMap(([it, keeper]) =>
    requested === "auto" || it.name === requested ? [keeper] : [],
  );
  return {
    backend: chosen,
    reason,
    ...(preferred && { preferred }),
    ...(failure !== undefined && { failure }),
    alternatives: allowed,
    nftables,
  };
}

/** Whether rules of a backend may be in the kernel: they are there, or reading fails. */
export async function mayRemain(backend: Backend): Promise<boolean> {
  try {
    return (await backend.actual()).length > 0;
  } catch {
    return true;
  }
}

/**
 * All backends that could have written rules of ours, preferred ones first.
 *
 * @param chain the agent's chain, if not the default one
 */
export async function everyBackend(chain?: string, programs: Host = HOST): Promise<Backend[]> {
  const tools = await allCommands(programs);
  const byIptables = tools.map(it => new IptablesBackend(it, chain));
  if (!programs.has("nft")) return byIptables;
  const byNft = new NftNatBackend(programs, chain);
  return [
    new NftablesBackend(programs.argv("nft")),
    ...byIptables.filter(({ place }) => place === byNft.place),
    byNft, // for the same table, if iptables cannot read it
    ...byIptables.filter(({ place }) => place !== byNft.place),
  ];
}

async function choose(
  { requested, policy, exemption }: ChooseOptions,
  programs: Host,
  all: readonly Backend[],
): Promise<Choice> {
  const nftables = all.find(({ name }) => name === "nftables");
  if (requested === "iptables") return iptables(programs, all, "--backend=iptables");
  if (requested === "nftables") {
    // Without nft the sync says that it is not installed.
    return { backend: nftables ?? new NftablesBackend(), reason: "--backend=nftables" };
  }
  if (!nftables) return iptables(programs, all, "nft is not installed");
  const [refusal, exempted] = await Promise.all([nftables.probe(policy), exemption?.()]);
  if (refusal === undefined && exempted !== undefined) return iptables(programs, all, exempted);
  if (refusal === undefined) {
    return { backend: nftables, reason: "nft is installed and the kernel accepts the rules" };
  }
  // iptables would be refused as well; the sync says so, and what to do.
  if (refusal.kind === "not-permitted") return { backend: nftables, reason: "nft is installed" };
  const choice = await iptables(programs, all, `nft refuses the rules: ${refusal.message}`);
  const hangs = refusal.kind === "timed-out";
  if (!hangs && refusal.kind !== "crashed") return choice;
  return { ...choice, failing: nftables, failure: refusal.message, hangs };
}

async function iptables(programs: Host, all: readonly Backend[], reason: string): Promise<Choice> {
  const choice = await chooseCommands(programs);
  const written = (writer: string) => all.find(it => it.name === "iptables" && it.writer === writer);
  const byTools = choice && written(choice.tools.variant);
  if (byTools) return { backend: byTools, reason: `${reason}; ${choice.reason}` };
  const byNft = written("nft");
  if (byNft) return { backend: byNft, reason: `${reason}; iptables is not installed` };
  throw new ProgramError(
    "not-found",
    "iptables",
    "neither iptables nor nft is installed",
    "install nftables or iptables",
  );
}
