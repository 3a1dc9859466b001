import type { Backend } from "../backends/backend.ts";
import type { Policy } from "../policy/policy.ts";
import type { Conflict } from "./conflict.ts";
import { exemptions } from "./exemptions.ts";
import { ourSide } from "./judged.ts";
import type { NatHook } from "./nat-hook.ts";
import { isOwnTable } from "./own-rules.ts";
import { translations } from "./translations.ts";

/**
 * Returns the conflicts of foreign rules with a policy, harmless ones last. Does not ask the kernel.
 *
 * @param backend our backend; undefined if none is chosen
 * @param cutShort receives base chains whose rules branch too often to follow all of them
 */
export function judge(
  hooks: readonly NatHook[],
  policy: Policy,
  backend: Backend["name"] | undefined,
  cutShort: (hook: NatHook) => void = () => {},
): Conflict[] {
  const ours = ourSide(policy, backend);
  const translating = hooks
    .filter(hook => !isOwnTable(hook, policy))
    .flatMap(hook => translations(hook, hooks, ours, cutShort));
  return [...translating, ...exemptions(hooks, ours)].toSorted(
    (a, b) => Number(a.harmless) - Number(b.harmless) || a.priority - b.priority,
  );
}
