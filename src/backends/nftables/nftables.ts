import { commandsOf } from "../../nft/new-set.ts";
import { tableText } from "../../nft/text.ts";
import { documentOf } from "../../nft/transactions.ts";
import type { Policy } from "../../policy/policy.ts";
import type { BackendKind } from "../backend-kind.ts";
import { NftablesBackend } from "./backend.ts";
import { withGenerations } from "./generations.ts";
import { decidingChains, ruleset } from "./ruleset.ts";
import { transition } from "./transition.ts";

/** Our own tables, written by nft. */
export const nftables = {
  name: "nftables",
  program: "nft",
  preservesExemptions: false,
  async writers(host) {
    return host.has("nft") ? [new NftablesBackend(host.argv("nft"))] : [];
  },
  async choose(_host, [backend]) {
    // Without nft, each sync reports that it is not installed.
    return { backend: backend ?? new NftablesBackend(), reason: "" };
  },
  documents: { nft: renderText, "nft-json": renderJson },
  desired(policy) {
    const withoutOrigins = ruleset(policy).map(table => ({
      ...table,
      sets: table.sets.map(set => ({ ...set, elements: set.elements.map(({ value }) => ({ value })) })),
    }));
    return withoutOrigins.flatMap(tableText);
  },
  chains: decidingChains,
} as const satisfies BackendKind;

/**
 * The rules of a policy as a document for `nft -j -f -` and a kernel without our tables. Its sets are declared by
 * `type`, which every version of nft reads. The agent declares them by `typeof` with nft 1.1.2 or later.
 */
export function renderJson(policy: Policy): string {
  const transitions = ruleset(policy).map(table => transition(table, undefined, "type"));
  const commands = [
    ...commandsOf(transitions.flatMap(({ build }) => build)),
    ...transitions.flatMap(({ swap }) => swap),
  ];
  return `${documentOf(commands)}\n`;
}

/** The rules of a policy as a document for `nft -f -` and a kernel without our tables. */
export function renderText(policy: Policy): string {
  return ruleset(policy)
    .flatMap(table => tableText(withGenerations(table, new Map())))
    .map(line => `${line}\n`)
    .join("");
}
