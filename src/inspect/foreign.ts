import { kernelRule } from "../backends/iptables/kernel-rules.ts";
import { PROGRAMS, type Programs } from "../backends/iptables/programs.ts";
import { POSTROUTING } from "../backends/iptables/restore.ts";
import type { Saved } from "../backends/iptables/save.ts";
import { legacyTables, type Tools } from "../backends/iptables/tools.ts";
import { allTools } from "../backends/iptables/variant.ts";
import type { Listed, TableFamily } from "../backends/nftables/json.ts";
import { type Blocks, meaningOf } from "../backends/nftables/kernel-rules.ts";
import { Nft } from "../backends/nftables/nft.ts";
import { TABLE, tableOf } from "../backends/nftables/table.ts";
import type { KernelRule } from "../backends/rules.ts";
import { Cidr, type Family } from "../net/cidr.ts";

/** A base chain of somebody else's that may translate source addresses, with all chains of its table. */
export interface NatHook {
  readonly tool: "nft" | "iptables-nft" | "iptables-legacy";
  readonly family: TableFamily;
  readonly table: string;
  readonly base: string;
  /** Where it is hooked in: lower ones run first; ours is 101. */
  readonly priority: number;
  readonly chains: ReadonlyMap<string, readonly KernelRule[]>;
}

/** Reads the NAT rules at postrouting that are not in a table of ours: of nft, and of both variants of iptables. */
export async function readNatHooks(programs: Programs = PROGRAMS): Promise<NatHook[]> {
  const tools = await allTools(programs);
  const iptables = (await Promise.all(tools.map(it => hooksOf(it, programs)))).flat();
  if (!programs.has("nft")) return iptables;
  const nft = new Nft(programs.argv("nft"));
  const native = (await nft.chains()).flatMap(it => {
    if (!("chain" in it) || it.chain.type !== "nat" || it.chain.hook !== "postrouting") return [];
    const { family, table, name, prio = 0 } = it.chain;
    const read = iptables.some(
      hook => hook.tool === "iptables-nft" && hook.family === family && hook.table === table,
    );
    return table === TABLE || read ? [] : { family, table, base: name, priority: prio };
  });
  return [...iptables, ...(await Promise.all(native.map(hook => nftHook(nft, hook))))];
}

const FAMILIES: readonly Family[] = ["ip", "ip6"];

/** Table `nat` of one variant. One that nft wrote and iptables cannot read is read by nft. */
async function hooksOf(tools: Tools, programs: Programs): Promise<NatHook[]> {
  const hooks = FAMILIES.map(async family => {
    if (!tools.has(family)) return [];
    if (tools.variant === "iptables-legacy" && !(await legacyTables(programs, family)).has("nat")) return [];
    const saved = await tools.save(family).catch((): Saved => ({ chains: new Map() }));
    if (!saved.chains.has(POSTROUTING)) return [];
    const chains = new Map(
      [...saved.chains].map(([name, rules]) => [name, rules.map(({ rule }) => kernelRule(name, rule))]),
    );
    return [{ tool: tools.variant, family, table: "nat", base: POSTROUTING, priority: 100, chains }];
  });
  return (await Promise.all(hooks)).flat();
}

async function nftHook(nft: Nft, hook: Omit<NatHook, "tool" | "chains">): Promise<NatHook> {
  const [listed = [], texts] = await Promise.all([
    nft.list(hook.family, hook.table),
    nft.ruleTexts(hook.family, hook.table),
  ]);
  const blocks = blocksOf(listed);
  const chains = new Map<string, KernelRule[]>();
  for (const object of listed) {
    if (!("rule" in object)) continue;
    const { chain, expr, handle = 0 } = object.rule;
    const rule = { text: texts.get(handle) ?? JSON.stringify(expr), ...meaningOf(expr, blocks) };
    const rules = chains.get(chain);
    if (rules) rules.push(rule);
    else chains.set(chain, [rule]);
  }
  return { tool: "nft", ...hook, chains };
}

/** A set of which not every element is a block is not understood. */
function blocksOf(listed: readonly Listed[]): Blocks {
  const sets = listed.filter(it => "table" in it || "set" in it);
  const table = tableOf("ip", sets);
  const all = new Map(table?.sets.map(({ name, elements }) => [name, elements]));
  return name => {
    const elements = all.get(name);
    const cidrs = elements?.flatMap(({ value }) => (value instanceof Cidr ? value : []));
    return cidrs && cidrs.length === elements?.length ? cidrs : undefined;
  };
}
