import { ENFORCE_PRIORITY, helperChains } from "../backends/ownership.ts";
import type { TraceableRule } from "../net/trace.ts";
import type { Conflict } from "./conflict.ts";
import type { Ours } from "./judged.ts";
import { isNat, NAT, type NatHook } from "./nat-hook.ts";
import { sharesNat } from "./own-rules.ts";

/** Whether `enforceNonMasquerade` prevents a foreign rule from masquerading kept connections. */
export interface Enforcement {
  /** Whether it prevents that now. */
  readonly defeats: boolean;
  /** Whether it would prevent that if it were set. */
  readonly helps: boolean;
}

/**
 * Returns the effect of `enforceNonMasquerade` on the rules of a base chain.
 *
 * @param hooks all base chains. In table `nat`, the actual jump counts: a kernel without NETMAP refuses it
 * @param runs whether a rule runs before or after our rules
 */
export function enforcementOn(
  hook: NatHook,
  hooks: readonly NatHook[],
  { policy, backend }: Ours,
  runs: (rule: TraceableRule) => Conflict["runs"],
): (rule: TraceableRule) => Enforcement {
  const isOurs = (family: string) => hook.family === "inet" || hook.family === family;
  if (!policy.enabled.some(isOurs)) return () => NONE;
  const isSet = policy.enforceNonMasquerade;
  if (!sharesNat(backend)) {
    const helps = hook.priority > ENFORCE_PRIORITY;
    return () => ({ defeats: isSet && helps, helps: !isSet && helps });
  }
  const isBound = policy.enabled
    .filter(isOurs)
    .every(family => hooks.some(it => it.family === family && isNat(it) && hasJump(it, policy.chain)));
  const { priority, registeredAfterUs } = hook;
  const isLater = priority > NAT.prio || (priority === NAT.prio && !registeredAfterUs);
  return rule => ({
    defeats: isSet && isBound && (isNat(hook) ? runs(rule) === "after ipmasq" : isLater),
    helps: !isSet && (isNat(hook) || isLater),
  });
}

const NONE: Enforcement = { defeats: false, helps: false };

/** Whether a base chain leads to the chain that binds kept connections. */
function hasJump({ chains, base }: NatHook, chain: string): boolean {
  const [, , enforce] = helperChains(chain);
  return (chains.get(base) ?? []).some(({ action }) => "to" in action && action.to === enforce);
}
