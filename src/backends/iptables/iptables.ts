import type { Family } from "../../net/cidr.ts";
import type { Policy } from "../../policy/policy.ts";
import { ProgramError } from "../../system/program.ts";
import { allCommands, chooseCommands } from "../../xtables/variant.ts";
import type { BackendKind } from "../backend-kind.ts";
import { IptablesBackend } from "./backend.ts";
import { NatDiff } from "./nat-diff.ts";
import { NftNatBackend } from "./nft-backend.ts";
import { desiredLines, prefixed } from "./restore.ts";
import { decidingChains, ruleset } from "./ruleset.ts";

/** The chain of ip-masq-agent in table `nat`, written by iptables-nft, iptables-legacy or nft. */
export const iptables = {
  name: "iptables",
  program: "iptables",
  preservesExemptions: true,
  async writers(host, chain) {
    const byIptables = (await allCommands(host)).map(it => new IptablesBackend(it, chain));
    if (!host.has("nft")) return byIptables;
    const byNft = new NftNatBackend(host, chain);
    // nft comes after iptables-nft, for rules in the same tables that iptables-nft cannot read.
    return [
      ...byIptables.filter(({ place }) => place === byNft.place),
      byNft,
      ...byIptables.filter(({ place }) => place !== byNft.place),
    ];
  },
  async choose(host, writers) {
    const choice = await chooseCommands(host);
    const byIptables = choice && writers.find(it => it.writer === choice.commands.variant);
    if (byIptables) return { backend: byIptables, reason: choice.reason };
    const byNft = writers.find(it => it.writer === "nft");
    if (byNft) return { backend: byNft, reason: "iptables is not installed" };
    const what = "neither iptables nor nft is installed";
    throw new ProgramError("not-found", "", what, "install nftables or iptables");
  },
  documents: { "iptables-restore": renderRestore },
  desired(policy) {
    return policy.families.flatMap(it => prefixed(it.family, desiredLines(ruleset(policy, it))));
  },
  chains: decidingChains,
} as const satisfies BackendKind;

/**
 * The rules of a policy in one family as a document for `iptables-restore --noflush` or `ip6tables-restore --noflush`.
 */
export function renderRestore(policy: Policy, family: Family): string {
  return policy.families
    .filter(it => it.family === family)
    .map(it => new NatDiff({ chains: new Map() }, ruleset(policy, it)).input ?? "")
    .join("");
}
