import type { Policy } from "../policy/policy.ts";
import { ProgramError } from "../system/program.ts";
import type { Backend } from "./backend.ts";
import { IptablesBackend } from "./iptables/backend.ts";
import { NftNatBackend } from "./iptables/nft-backend.ts";
import { PROGRAMS, type Programs } from "./iptables/programs.ts";
import { allTools, chooseTools } from "./iptables/variant.ts";
import { NftablesBackend } from "./nftables/backend.ts";
import { Takeover } from "./takeover.ts";

/** A backend, and why it is that one. */
export interface Chosen {
  readonly backend: Takeover;
  readonly reason: string;
}

/** As Chosen, before the others are looked for. */
type Choice = Omit<Chosen, "backend"> & { readonly backend: Backend };

export interface ChooseOptions {
  readonly wanted: "auto" | "nftables" | "iptables";
  /** What has to be written, for `auto` to try. */
  readonly policy: Policy;
  readonly programs?: Programs;
  /**
   * Why only iptables keeps what foreign rules exempt from masquerading; undefined if it does not matter. `auto` asks it
   * while it tries nft. It is a courtesy: it throws nothing, and does not take long.
   */
  readonly exemption?: () => Promise<string | undefined>;
}

/** Chooses what the rules are written with. Throws ProgramError if there is nothing to write them with. */
export async function chooseBackend(options: ChooseOptions): Promise<Chosen> {
  const { programs = PROGRAMS, policy } = options;
  const { backend, reason } = await choose(options, programs);
  return { backend: new Takeover(backend, await everyBackend(policy.chain, programs)), reason };
}

/**
 * All that could have written rules of ours.
 *
 * @param chain the chain that the agent is to have, if not the usual one
 */
export async function everyBackend(chain?: string, programs: Programs = PROGRAMS): Promise<Backend[]> {
  const tools = await allTools(programs);
  const byIptables = tools.map(it => new IptablesBackend(it, chain));
  if (!programs.has("nft")) return byIptables;
  return [new NftablesBackend(programs.argv("nft")), ...byIptables, new NftNatBackend(programs, chain)];
}

async function choose({ wanted, policy, exemption }: ChooseOptions, programs: Programs): Promise<Choice> {
  if (wanted === "nftables") return nftables(programs, "--backend=nftables");
  if (wanted === "iptables") return iptables(programs, "--backend=iptables");
  if (!programs.has("nft")) return iptables(programs, "nft is not installed");
  const [refusal, exempted] = await Promise.all([
    new NftablesBackend(programs.argv("nft")).probe(policy),
    exemption?.(),
  ]);
  if (refusal === undefined && exempted !== undefined) return iptables(programs, exempted);
  if (refusal === undefined) return nftables(programs, "nft is here, and the kernel takes our rules");
  // iptables would be refused as well; the sync says so, and what to do.
  if (refusal.kind === "not-permitted") return nftables(programs, "nft is here");
  return iptables(programs, `nft does not take our rules: ${refusal.message}`);
}

function nftables(programs: Programs, reason: string): Choice {
  return { backend: new NftablesBackend(programs.argv("nft")), reason };
}

async function iptables(programs: Programs, reason: string): Promise<Choice> {
  const choice = await chooseTools(programs);
  if (choice) return { backend: new IptablesBackend(choice.tools), reason: `${reason}; ${choice.reason}` };
  if (programs.has("nft"))
    return { backend: new NftNatBackend(programs), reason: `${reason}; there is no iptables here` };
  throw new ProgramError(
    "not-found",
    "iptables",
    "neither iptables nor nft is installed",
    "install nftables or iptables",
  );
}
