import type { ChooseOptions } from "../backends/choose.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";

/**
 * Finds, for `--backend=auto`, foreign rules that exempt connections from masquerading. After a failure it counts as not
 * found.
 *
 * @param chain the agent's chain
 * @param policy called only if a rule exempts connections
 * @param failed receives the reason of a failure
 */
export function exemptionFor(
  chain: string,
  policy: () => Promise<Policy>,
  failed: (why: string) => void = () => {},
): Pick<ChooseOptions, "exemption"> {
  return {
    exemption: async () => {
      try {
        const { exemptionKeptByIptables } = await import("../conflicts/exemption.ts");
        return await exemptionKeptByIptables({ chain, policy });
      } catch (error) {
        failed(messageOf(error));
        return undefined;
      }
    },
  };
}
