import type { ChooseOptions } from "../backends/choose.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";

/**
 * The question of `auto` about foreign rules that exempt connections from masquerading. A failure counts as none found.
 *
 * @param chain that the agent is to have
 * @param policy called only if something is exempted at all
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
