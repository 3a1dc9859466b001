import { TABLE } from "../backends/ownership.ts";
import { flagsOf, isDormant, readTableFlags, type TableFlags } from "../conflicts/dormant.ts";
import { NAT, type NatHook } from "../conflicts/nat-hook.ts";
import { isOwnName } from "../conflicts/own-rules.ts";
import { readNatHooks } from "../conflicts/read.ts";
import { FAMILIES, type Family } from "../net/cidr.ts";
import type { Policy } from "../policy/policy.ts";
import type { Hook } from "../proof/kernel-diagram.ts";
import { type Proof, prove } from "../proof/prove.ts";
import type { NodeAddresses } from "../proof/space.ts";
import { messageOf } from "../system/errors.ts";
import { HOST, type Host } from "../system/host.ts";
import { legacyTables } from "../xtables/commands.ts";
import { readAddressTypes } from "./local-routes.ts";

/** A base chain in the kernel, as part of a proof. */
export interface KernelHook extends Hook {
  readonly nat: NatHook;
}

/** The comparison of the kernel's NAT with the policy. */
export interface Verification {
  readonly families: readonly { readonly family: Family; readonly proof: Proof<KernelHook> }[];
  /** A sentence for each part of the kernel's rules that was not read. */
  readonly unread: readonly string[];
  /** Conditions of the proof, one sentence each. */
  readonly assuming: readonly string[];
}

/** The result of a family or of the whole verification. */
export type Outcome = "proven" | "differs" | "unproven";

/** Everything at postrouting is read, so the limits are wider than those of the search for conflicts. */
const LIMITS = { time: 30_000, chains: 4096, output: 256 * 1024 * 1024 };

/**
 * Proves that the kernel's NAT at postrouting, foreign rules included, gives the policy's verdict on every packet of
 * the enabled families, or finds the packets for which it does not. Writes nothing. Throws nothing.
 *
 * @param matchesIpsec whether our rules can match packets under an IPsec policy; called only if they do not
 */
export async function verify(
  policy: Policy,
  matchesIpsec: () => Promise<boolean>,
  programs: Host = HOST,
): Promise<Verification> {
  const [{ hooks, unread }, more, flags, addresses] = await Promise.all([
    readNatHooks({ programs, expected: true, limits: LIMITS }),
    unreadable(programs),
    tableFlags(programs),
    readAddressTypes(programs),
  ]);
  const node: NodeAddresses = { local: addresses.local ?? [], broadcast: addresses.broadcast ?? [] };
  const kernel = hooks.flatMap(it => kernelHook(it, policy, flags));
  const assuming: string[] = [];
  const families: Verification["families"][number][] = [];
  for (const family of FAMILIES) {
    const own = ownHooks(kernel, policy).filter(it => isOf(it, family));
    const isEnabled = policy.families.some(it => it.family === family);
    if (!isEnabled && own.length === 0) continue;
    const all = kernel.filter(it => isOf(it, family));
    let proof = prove(policy, family, all, own, node);
    if (proof.findings.some(it => it.packets.has("ipsec")) && !(await matchesIpsec())) {
      proof = prove(policy, family, all, own, node, false);
      assuming.push("no packet is under an IPsec policy, because the kernel cannot match such packets");
    }
    if (isEnabled || outcomeOf(proof) !== "proven") families.push({ family, proof });
  }
  const noRoutes = addresses.local ? [] : ["the node's routes: /proc/net/fib_trie cannot be read"];
  const routes = policy.enabled.includes("ip6") ? addresses.doubtful : [];
  const doubtful = kernel
    .filter(it => it.doubtful)
    .map(({ nat }) => `table ${nat.family} ${nat.table}: nft does not print whether it is dormant`);
  return {
    families,
    unread: [
      ...unread,
      ...more,
      ...("failure" in flags ? [flags.failure] : []),
      ...new Set(doubtful),
      ...noRoutes,
      ...routes.map(it => `route local ${it}: /proc does not say whether it is in table local`),
    ],
    assuming: [...new Set(assuming)],
  };
}

/** The result of one family. */
export function outcomeOf({ differing, unproven, failure }: Proof<KernelHook>): Outcome {
  if (differing > 0) return "differs";
  return unproven > 0 || failure !== undefined ? "unproven" : "proven";
}

/** The result for all families together. */
export function overallOutcome({ families, unread }: Verification): Outcome {
  const outcomes = families.map(({ proof }) => outcomeOf(proof));
  if (outcomes.includes("differs")) return "differs";
  return outcomes.includes("unproven") || unread.length > 0 ? "unproven" : "proven";
}

function isOf({ nat }: KernelHook, family: Family): boolean {
  return nat.family === family || nat.family === "inet";
}

type Flags = TableFlags | { readonly failure: string };

async function tableFlags(programs: Host): Promise<Flags> {
  try {
    return await readTableFlags(programs);
  } catch (error) {
    return { failure: `the flags of tables: ${messageOf(error)}` };
  }
}

/** Rules in the kernel that no installed program can read. */
async function unreadable(programs: Host): Promise<string[]> {
  const missing: string[] = [];
  if (!programs.has("nft")) missing.push("tables of nftables: nft is not installed");
  if (programs.has("iptables-legacy") || programs.has("iptables")) return missing;
  for (const family of FAMILIES) {
    const names = await legacyTables(programs, family).catch(() => new Set());
    if (names.has(NAT.table)) missing.push(`table ${family} nat of iptables-legacy: it is not installed`);
  }
  return missing;
}

/** Flags without an effect on rules. */
const HARMLESS = new Set(["owner", "persist"]);

/** A hook with an effect; nothing for a dormant table. */
function kernelHook(nat: NatHook, policy: Policy, all: Flags): KernelHook[] {
  const flags = "failure" in all ? [] : flagsOf(nat, all);
  if (isDormant(flags)) return [];
  const { base, chains, priority, table } = nat;
  const isOwn = (chain: string) => table === TABLE || (table === NAT.table && isOwnName(chain, policy));
  const doubtful = flags.some(it => !HARMLESS.has(it));
  return [{ nat, base, chains, priority, isOwn, ...(doubtful && { doubtful }) }];
}

/** The hooks of our table, and POSTROUTING with only the jumps to our chains. */
function ownHooks(hooks: readonly KernelHook[], policy: Policy): KernelHook[] {
  return hooks.flatMap(hook => {
    if (hook.nat.table === TABLE) return [hook];
    const jumps = (hook.chains.get(hook.base) ?? []).filter(
      ({ action }) => hook.nat.table === NAT.table && "to" in action && isOwnName(action.to, policy),
    );
    return jumps.length > 0 ? [{ ...hook, chains: new Map([...hook.chains, [hook.base, jumps]]) }] : [];
  });
}
