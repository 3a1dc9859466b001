import type { Watch } from "../backend.ts";
import { watchTransactions } from "../nftables/monitor.ts";

/** Transactions that may have changed our chain or the jump to it, where iptables writes nftables. */
export function watchNat(
  nft: readonly string[],
  changed: (by?: string) => void,
  lost: (why: string) => void,
  strangers: () => void,
): Watch {
  return watchTransactions(nft, NAT, changed, lost, strangers);
}

const NAT = /^\w+ (table|chain|rule) ip6? nat(\s|$)/;

/** Asks `inSync` every so many milliseconds, and calls `changed` if it is not so: for a kernel that tells nobody. */
export function watchByLooking(
  inSync: () => Promise<boolean>,
  every: number,
  changed: () => void,
  lost: (why: string) => void,
): Watch {
  let looking = false;
  let told = "";
  const look = async () => {
    if (looking) return;
    looking = true;
    try {
      if (!(await inSync())) changed();
      told = "";
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (why !== told) lost(why);
      told = why;
    }
    looking = false;
  };
  const timer = setInterval(() => void look(), every);
  return { stop: () => clearInterval(timer) };
}
