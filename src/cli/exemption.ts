import type { ChooseOptions } from "../backends/choose.ts";
import type { Policy } from "../policy/policy.ts";
import { messageOf } from "../system/errors.ts";

/**
 * What `auto` asks about foreign rules that exempt connections from masquerading. What goes wrong there counts as none
 * found.
 *
 * @param chain that the agent is to have
 * @param policy what the config means; asked for only if something is exempted at all
 * @param failed is told what went wrong
 */
export function exemptionFor(
  chain: string,
  policy: () => Promise<Policy>,
  failed: (why: string) => void = () => {},
): Pick<ChooseOptions, "exemption"> {
  return {
    exemption: async () => {
      try {
        const { exemptionKeptByIptables } = await import("../inspect/exemption.ts");
        return await exemptionKeptByIptables({ chain, policy });
      } catch (error) {
        failed(messageOf(error));
        return undefined;
      }
    },
  };
}
