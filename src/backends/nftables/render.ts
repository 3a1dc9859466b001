import { document } from "../../nft/nft.ts";
import { tableText } from "../../nft/text.ts";
import type { Policy } from "../../policy/policy.ts";
import { ruleset } from "./ruleset.ts";
import { withLetters } from "./slots.ts";
import { swapTo } from "./swap.ts";

/**
 * The policy as one document for `nft -j -f -` and a kernel without our tables. Its sets are declared by
 * `type`, which every nft reads; the agent declares them by `typeof` where nft is 1.1.2 or later.
 */
export function renderJson(policy: Policy): string {
  const swaps = ruleset(policy).map(table => swapTo(table, undefined, "type"));
  return `${document([...swaps.flatMap(({ build }) => build), ...swaps.flatMap(({ swap }) => swap)])}\n`;
}

/** The policy as one document for `nft -f -` and a kernel without our tables. */
export function renderText(policy: Policy): string {
  return ruleset(policy)
    .flatMap(table => tableText(withLetters(table, new Map())))
    .map(line => `${line}\n`)
    .join("");
}
