import type { Backend } from "../backends/backend.ts";
import { BACKENDS } from "../backends/backends.ts";
import { helperChains, isOwnText, ownChainNames, TABLE } from "../backends/ownership.ts";
import type { Policy } from "../policy/policy.ts";
import { NAT, type NatHook } from "./nat-hook.ts";

/**
 * Whether a backend writes to table `nat`, as ip-masq-agent does. Foreign rules in that table then also affect ours.
 */
export function sharesNat(backend: Backend["name"] | undefined): boolean {
  return BACKENDS.some(it => it.name === backend && it.preservesExemptions);
}

/** Whether a table is ours, in a family of the policy. */
export function isOwnTable(
  { family, table }: Pick<NatHook, "family" | "table">,
  { enabled }: Policy,
): boolean {
  return table === TABLE && enabled.some(it => it === family);
}

/** Whether a chain has the name of the policy's chain or of a helper chain. */
export function isOwnName(chain: string, policy: Pick<Policy, "chain">): boolean {
  return ownChainNames(policy.chain).includes(chain);
}

/** Whether a chain has the name of a chain that decides about connections which foreign rules left alone. */
export function isDecidingName(chain: string, policy: Pick<Policy, "chain">): boolean {
  const [, , ...enforcing] = helperChains(policy.chain);
  return isOwnName(chain, policy) && !enforcing.includes(chain);
}

/** Whether ipmasq wrote the rules of a chain. The comments of ip-masq-agent differ. */
export function isOwnChain({ chains }: NatHook, chain: string, policy: Policy): boolean {
  const rules = chains.get(chain) ?? [];
  return isOwnName(chain, policy) && rules.length > 0 && rules.every(({ text }) => isOwnText(text));
}

/**
 * Returns a test for chains that `judge` does not need.
 *
 * @param backend our backend; undefined if none is chosen
 */
export function isOurs(
  policy: Policy,
  backend: Backend["name"] | undefined,
): (family: NatHook["family"], table: string, chain: string) => boolean {
  return (family, table, chain) =>
    isOwnTable({ family, table }, policy) ||
    (table === NAT.table && sharesNat(backend) && isOwnName(chain, policy));
}
