import { ruleset } from "../../src/backends/nftables/ruleset.ts";
import type { NatHook } from "../../src/conflicts/nat-hook.ts";
import { verificationJson } from "../../src/inspect/verification.ts";
import { verificationText } from "../../src/inspect/verification-text.ts";
import type { KernelHook } from "../../src/inspect/verify.ts";
import { Cidr } from "../../src/net/cidr.ts";
import { traceableRuleset } from "../../src/nft/traceable.ts";
import type { Policy } from "../../src/policy/policy.ts";
import { prove } from "../../src/proof/prove.ts";
import { natHook } from "../conflicts/hooks.ts";

const NODE = { local: ["127.0.0.0/8", "198.51.100.2/32"].map(it => Cidr.literal(it)), broadcast: [] };

/**
 * The output of `ipmasq verify` for IPv4.
 *
 * @param actual the policy whose rules are in our table
 * @param foreign rules of table `nat`, as iptables-save prints them
 */
export function verificationOf(policy: Policy, actual: Policy, foreign: string): string[] {
  const own = ruleset(actual)
    .slice(0, 1)
    .map(table => {
      const { base, chains } = traceableRuleset(table);
      const place = { tool: "nft", family: "ip", table: "ip-masq-agent", base, priority: 101 } as const;
      return kernelHook({ ...place, chains, registeredAfterUs: false }, true);
    });
  const hooks = [kernelHook(natHook(foreign), false), ...own];
  const families = [{ family: "ip" as const, proof: prove(policy, "ip", hooks, own, NODE) }];
  return verificationText(verificationJson({ families, unread: [], assuming: [] }));
}

function kernelHook(nat: NatHook, own: boolean): KernelHook {
  const { base, chains, priority } = nat;
  return { nat, base, chains, priority, isOwn: () => own };
}
