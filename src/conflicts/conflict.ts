import * as v from "valibot";
import { selectionOf } from "../net/interface-name.ts";

/** A foreign NAT rule that gives, or may give, some connections a verdict that differs from the policy's. */
export const Conflict = v.object({
  kind: v.pipe(
    v.optional(v.picklist(["masquerades", "exempts"])),
    v.description("whether the rule changes source addresses, or ends NAT before our rules"),
  ),
  owner: v.pipe(v.string(), v.description("the program that made the rule, or unknown")),
  means: v.pipe(
    v.optional(v.string()),
    v.description("effect of the owner's rules, to follow its name in a sentence"),
  ),
  tool: v.pipe(
    v.picklist(["nft", "iptables-nft", "iptables-legacy"]),
    v.description("the tool that can read it"),
  ),
  family: v.picklist(["ip", "ip6", "inet"]),
  table: v.string(),
  chain: v.string(),
  rule: v.string(),
  priority: v.pipe(v.number(), v.description("of its base chain")),
  runs: v.pipe(
    v.picklist(["before ipmasq", "after ipmasq"]),
    v.description("the order of its rules and ours"),
  ),
  exposes: v.pipe(
    v.array(v.string()),
    v.description("CIDRs that the policy keeps and the rule may masquerade connections to; at most 1000"),
  ),
  andMore: v.pipe(v.optional(v.boolean()), v.description("whether exposes may be incomplete")),
  exempts: v.pipe(
    v.optional(v.array(v.string())),
    v.description("destinations that the policy masquerades and the rule exempts"),
  ),
  sources: v.pipe(v.optional(v.array(v.string())), v.description("the only sources that the rule affects")),
  interfaces: v.pipe(
    v.optional(v.array(v.string())),
    v.description(
      "the only output interfaces that the rule affects, as in outputInterfaces: with !, any except these",
    ),
  ),
  except: v.pipe(
    v.optional(v.array(v.object({ destination: v.string(), sources: v.array(v.string()) }))),
    v.description(
      "for the first 20 CIDRs in exposes: sources from which the rule does not affect connections",
    ),
  ),
  only: v.pipe(v.optional(v.string()), v.description("the only packets that the rule affects")),
  certain: v.pipe(v.boolean(), v.description("false if a condition of the rule is not understood")),
  defeated: v.pipe(
    v.optional(v.boolean()),
    v.description(
      "whether enforceNonMasquerade binds kept connections before the rule, which is then harmless",
    ),
  ),
  harmless: v.pipe(v.boolean(), v.description("whether the rule never contradicts the policy")),
  remedy: v.string(),
});
export type Conflict = v.InferOutput<typeof Conflict>;

/** The maximum number of CIDRs that a conflict names. */
export const MOST_NAMED = 1000;

/** The maximum number of CIDRs that a line shows. */
export const MOST_SHOWN = 20;

/** The rules that contradict the policy. */
export function harmfulOf(conflicts: readonly Conflict[]): Conflict[] {
  return conflicts.filter(({ harmless }) => !harmless);
}

/** A rule in one line, for lists and for the log. */
export function conflictText({ owner, tool, family, table, chain, rule }: Conflict): string {
  return `${owner}: ${rule} (${tool}, table ${family} ${table}, chain ${chain})`;
}

/** The effect of a rule on connections, in one line. */
export function effectText(it: Conflict): string {
  const { kind, runs, priority, certain, exempts = [], only = "connections" } = it;
  const by = it.interfaces ? ` by ${interfacesText(it.interfaces)}` : "";
  const connections = `${only}${sourceText(it)}${by}`;
  if (kind === "exempts") {
    return `${certain ? "exempts" : "may exempt"} ${connections} to ${some(exempts)} from NAT, but ipmasq masquerades them`;
  }
  return `runs ${runs} (priority ${priority}) and ${certain ? "catches" : "may catch"} ${connections} to ${exposedText(it)}`;
}

function interfacesText(interfaces: readonly string[]): string {
  const { except, patterns } = selectionOf(interfaces);
  return except ? `any interface except ${some(patterns)}` : some(patterns);
}

/** The owner of a rule, as a part of a sentence. */
export function ownerText({ owner }: Conflict): string {
  return owner === "unknown" ? "an unknown program" : owner;
}

/** Rules that `enforceNonMasquerade` defeats, in a few words: each owner once; undefined without such rules. */
export function defeatedText(conflicts: readonly Conflict[]): string | undefined {
  const owners = new Set(conflicts.filter(({ defeated }) => defeated).map(ownerText));
  return owners.size > 0 ? [...owners].join(", ") : undefined;
}

/** The meaning of a rule and the remedy, in one line. */
export function remedyText({ owner, means, remedy }: Conflict): string {
  return means === undefined ? remedy : `${owner} ${means}; ${remedy}`;
}

/** The CIDRs that a rule exposes, with the sources that are left out where they differ. */
export function exposedText(it: Conflict): string {
  const { exposes, except = [] } = it;
  if (commonException(it)) return some(exposes);
  const sources = new Map(except.map(({ destination, sources }) => [destination, sources]));
  return some(
    exposes.map(cidr => {
      const left = sources.get(cidr);
      return left ? `${cidr} (except from ${some(left)})` : cidr;
    }),
  );
}

function sourceText(it: Conflict): string {
  if (!it.sources) return "";
  const left = commonException(it);
  return ` from ${some(it.sources)}${left ? ` except ${some(left)}` : ""}`;
}

/** The sources that the rule affects in general, but not for any exposed CIDR. */
function commonException({ exposes, except = [], sources }: Conflict): readonly string[] | undefined {
  if (!sources) return undefined;
  const [first] = except;
  const same = except.every(({ sources }) => sources.join() === first?.sources.join());
  return same && except.length === Math.min(exposes.length, MOST_SHOWN) ? first?.sources : undefined;
}

/** The first entries of a list, and how many follow. */
export function some(texts: readonly string[]): string {
  const more = texts.length > MOST_SHOWN ? ` and ${texts.length - MOST_SHOWN} more` : "";
  return texts.slice(0, MOST_SHOWN).join(" ") + more;
}
