import { ownChainNames } from "../backends/ownership.ts";
import { FAMILIES, type Family } from "../net/cidr.ts";
import type { NodeTables } from "../nft/node-tables.ts";
import { mapLists, type Policy, policyOf } from "../policy/policy.ts";
import { HOST, type Host } from "../system/host.ts";
import { within } from "../system/timing.ts";
import { chooseCommands } from "../xtables/variant.ts";
import type { Conflict } from "./conflict.ts";
import { running } from "./dormant.ts";
import { readNatHooks } from "./read.ts";

/** Limits the search for exemptions when `--backend=auto` chooses a backend. */
const DEADLINE_MS = 2000;

/** The policy whose exemptions count. */
export interface ExemptionQuestion {
  /** The name of the policy's chain. */
  readonly chain: string;
  /** The families whose rules are searched; by default both. */
  readonly families?: readonly Family[] | undefined;
  /** The tables of the node now, if they are known. */
  readonly tables?: Promise<NodeTables | undefined> | undefined;
  /** Reads the policy. Called only if a rule exempts connections. */
  policy(): Promise<Policy>;
}

/**
 * Returns why only iptables preserves exemptions by foreign rules. Undefined if they exempt no connection that the
 * policy masquerades, or if they are in the table of the iptables variant that we would not use. Takes 2 s at most.
 * Throws the errors of `policy`.
 */
export async function exemptionKeptByIptables(
  { chain, policy, families = FAMILIES, tables }: ExemptionQuestion,
  programs: Host = HOST,
): Promise<string | undefined> {
  const look = async (): Promise<string | undefined> => {
    const all = masqueradeAll(chain);
    const limits = { time: DEADLINE_MS };
    const own = ownChainNames(chain);
    const skip = (_family: string, _table: string, name: string) => own.includes(name);
    const read = await readNatHooks({ programs, limits, natOf: families, tables: await tables, skip });
    if (read.hooks.length === 0) return undefined;
    const hooks = await running(read.hooks, programs);
    // These modules are rarely needed, and loading them takes some milliseconds.
    const { exemptions } = await import("./exemptions.ts");
    const { ourSide } = await import("./judged.ts");
    if (exemptions(hooks, ourSide(all, "nftables")).length === 0) return undefined;
    const found = exemptions(hooks, ourSide(await policy(), "nftables"));
    if (found.length === 0) return undefined;
    const choice = await chooseCommands(programs);
    const tool = choice?.commands.variant ?? "nft";
    const first = found.find(it => it.tool === tool);
    const does = first?.certain ? "exempts" : "may exempt";
    return first && `"${first.rule}" ${does} ${exempted(first)}; only iptables preserves this exemption`;
  };
  return within(DEADLINE_MS, look());
}

/** The exempted connections, in a few words. */
function exempted({ exempts = [], sources, only }: Conflict): string {
  const from = sources ? ` from ${few(sources)}` : "";
  return `${only ?? "connections"}${from} to ${few(exempts)}`;
}

const FEW = 3;

function few(texts: readonly string[]): string {
  const more = texts.length > FEW ? ` and ${texts.length - FEW} more` : "";
  return texts.slice(0, FEW).join(" ") + more;
}

/** A policy that masquerades all connections of both families. */
function masqueradeAll(masqChain: string): Policy {
  const none = { nomasqAllReservedRanges: false, randomFully: false, toPorts: undefined };
  const policy = policyOf({}, { enableIPv6: true, masqChain, ...none });
  const empty = { effective: [], ascending: [], redundant: [] };
  return { ...policy, families: policy.families.map(family => mapLists(family, () => empty)) };
}
