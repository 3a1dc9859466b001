import * as v from "valibot";

/** A foreign NAT rule that decides about connections that the policy decides about too. */
export const Conflict = v.object({
  kind: v.pipe(
    v.optional(v.picklist(["masquerades", "exempts"])),
    v.description("what the rule does: another source address, or an end to NAT before us"),
  ),
  owner: v.pipe(v.string(), v.description("the program that made the rule, if known")),
  tool: v.picklist(["nft", "iptables-nft", "iptables-legacy"]),
  family: v.picklist(["ip", "ip6", "inet"]),
  table: v.string(),
  chain: v.string(),
  rule: v.string(),
  priority: v.number(),
  runs: v.pipe(v.picklist(["before us", "after us"]), v.description("the order of its base chain and ours")),
  exposes: v.pipe(
    v.array(v.string()),
    v.description(
      "CIDRs of the policy whose connections keep their address, but may be masqueraded by this rule; at most 1000",
    ),
  ),
  andMore: v.pipe(v.optional(v.boolean()), v.description("whether there may be more than exposes names")),
  exempts: v.pipe(
    v.optional(v.array(v.string())),
    v.description("destinations that the policy masquerades and the rule exempts from that"),
  ),
  sources: v.pipe(
    v.optional(v.array(v.string())),
    v.description("if it catches connections from these only"),
  ),
  only: v.pipe(v.optional(v.string()), v.description("the marked packets that it is limited to")),
  certain: v.pipe(v.boolean(), v.description("false if a condition of the rule is not understood")),
  harmless: v.boolean(),
  remedy: v.string(),
});
export type Conflict = v.InferOutput<typeof Conflict>;

/** A rule in one line, for lists and for the log. */
export function conflictText({ owner, tool, family, table, chain, rule }: Conflict): string {
  return `${owner}: ${rule} (${tool}, table ${family} ${table}, chain ${chain})`;
}

/** What a rule does to connections, in one line. */
export function effectText(it: Conflict): string {
  const { kind, runs, priority, certain, exposes, exempts = [], sources, only } = it;
  const which = `${only ?? "connections"}${sources ? ` from ${some(sources)}` : ""}`;
  if (kind === "exempts") {
    return `${certain ? "exempts" : "may exempt"} ${which} to ${some(exempts)} from NAT, but our rules masquerade them`;
  }
  return `runs ${runs} (priority ${priority}) and ${certain ? "catches" : "may catch"} ${which} to ${some(exposes)}`;
}

const SHOWN = 20;

/** As many of a list as people read. */
export function some(texts: readonly string[]): string {
  const more = texts.length > SHOWN ? ` and ${texts.length - SHOWN} more` : "";
  return texts.slice(0, SHOWN).join(" ") + more;
}
