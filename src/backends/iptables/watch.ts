import { POSTROUTING } from "../../xtables/save.ts";
import type { Watch, Watcher } from "../backend.ts";
import type { Look } from "../poll.ts";
import { watchTransactions } from "../watch.ts";

/**
 * Reports transactions that may have changed our chains or the jump to them, where iptables writes nftables.
 * Transactions on other chains of table `nat`, frequent with kube-proxy, are ignored.
 *
 * @param chains the chains that are ours now
 */
export function watchNat(
  nft: readonly string[],
  chains: () => readonly string[],
  look: Look,
  watcher: Watcher,
): Watch {
  const matters = {
    test(line: string): boolean {
      const [, kind, chain = ""] = NAT.exec(line) ?? [];
      if (kind === undefined) return false;
      return kind === "table" || chain === POSTROUTING || chains().includes(chain);
    },
  };
  return watchTransactions(nft, matters, look, watcher);
}

const NAT = /^\w+ (table|chain|rule) ip6? nat(?:\s+(\S+)|$)/;
