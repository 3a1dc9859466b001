import type { Watch } from "../backend.ts";
import { watchTransactions } from "../nftables/monitor.ts";
import type { Tools } from "./tools.ts";

/** Transactions that may have changed our chain or the jump to it, where iptables writes nftables. */
export function watchNat(
  nft: readonly string[],
  changed: (by?: string) => void,
  lost: (why: string) => void,
): Watch {
  return watchTransactions(nft, NAT, changed, lost);
}

const NAT = /^\w+ (table|chain|rule) ip6? nat(\s|$)/;

/** Calls `changed` when what iptables-legacy-save prints is another text than before, counters apart. */
export function watchLegacy(tools: Tools, changed: () => void, lost: (why: string) => void): Watch {
  let last: string | undefined;
  let looking = false;
  let told = "";
  const look = async () => {
    if (looking) return;
    looking = true;
    try {
      const text = (await tools.print("ip", "nat")) + (await tools.print("ip6", "nat"));
      const rules = text.replace(/^#.*|\[\d+:\d+\]/gm, "");
      if (last !== undefined && rules !== last) changed();
      last = rules;
      told = "";
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (why !== told) lost(why);
      told = why;
    }
    looking = false;
  };
  const timer = setInterval(() => void look(), tools.waits.look);
  void look();
  return { stop: () => clearInterval(timer) };
}
