import { TABLE } from "../backends/ownership.ts";
import { FAMILIES, type Family } from "../net/cidr.ts";
import type { TraceableRule } from "../net/trace.ts";
import { type Conflict, MOST_NAMED } from "./conflict.ts";
import { type Enforcement, enforcementOn } from "./enforcement.ts";
import { mayLeaveBy, requiredInterfaces } from "./interfaces.ts";
import { type Judged, keptWhole, type Ours } from "./judged.ts";
import { type Caught, leftOut } from "./left-out.ts";
import { isNat, NAT, type NatHook, OUR_PRIORITY } from "./nat-hook.ts";
import { isOwnChain, isOwnName, sharesNat } from "./own-rules.ts";
import { isExpected, type Owner, ownerOf, ownerOfRule, UNKNOWN } from "./owners.ts";
import { everything } from "./region.ts";
import { cidrTexts, markText, ruleFacts } from "./rule-text.ts";
import { type Arrival, type WalkOptions, walk } from "./walk.ts";

/** If a base chain has more rules than this, fewer CIDRs are named for each rule. */
const FEW_RULES = 50;
const MOST_NAMED_OF_MANY = 100;

/** The facts about one rule, from all families and all paths to it. */
interface Draft {
  readonly arrivals: Arrival[];
  /** Connections without a mark that reach the rule. */
  readonly caught: Caught[];
  /** CIDRs of the policy whose connections the rule catches. */
  readonly exposes: Set<string>;
  /** Whether it catches kept connections if their packets carry a mark. */
  marked: boolean;
  certain: boolean;
}

/**
 * Returns the foreign rules of a base chain that translate source addresses.
 *
 * @param hooks all base chains
 * @param cutShort is called if the rules branch too often to follow all of them
 */
export function translations(
  hook: NatHook,
  hooks: readonly NatHook[],
  ours: Ours,
  cutShort: (hook: NatHook) => void,
): Conflict[] {
  if (hook.tool === "nft" && isExpected(hook.table)) return [unreadTable(hook)];
  const drafts = new Map<TraceableRule, Draft>();
  const families: readonly Family[] = hook.family === "inet" ? FAMILIES : [hook.family];
  for (const family of families) collect(drafts, hook, family, ours, cutShort);
  const runs = order(hook, ours);
  const enforcement = enforcementOn(hook, hooks, ours, runs);
  const most = drafts.size > FEW_RULES ? MOST_NAMED_OF_MANY : MOST_NAMED;
  return [...drafts].flatMap(([rule, draft]) =>
    translation(hook, draft, { runs: runs(rule), most, ...enforcement(rule) }),
  );
}

/** Walks the rules of one family twice: with packets that may carry any mark, and with packets without a mark. */
function collect(
  drafts: Map<TraceableRule, Draft>,
  hook: NatHook,
  family: Family,
  { policy, backend, families }: Ours,
  cutShort: (hook: NatHook) => void,
): void {
  const own = (chain: string) =>
    isOwnChain(hook, chain, policy) || (sharesNat(backend) && isOwnName(chain, policy));
  const closed = (chain: string) => own(chain) || isExpected(chain);
  const from = [everything(family)];
  const arrivals = (marks: WalkOptions["marks"]) => {
    const options: WalkOptions = { family, from, marks, closed, find: "translations" };
    const { found, complete } = walk(hook.base, hook.chains, options);
    if (!complete) cutShort(hook);
    return found.filter(({ chain }) => !own(chain));
  };
  const all = arrivals("any");
  for (const arrival of all) {
    const draft = draftOf(drafts, arrival.rule);
    draft.arrivals.push(arrival);
    draft.certain &&= arrival.certain;
  }
  const judged = judgesOf(hook, families).find(it => it.family === family);
  if (!judged) return;
  const most = all.length > FEW_RULES ? MOST_NAMED_OF_MANY : MOST_NAMED;
  const selected = families.includes(judged) ? policy.outputInterfaces : undefined;
  const isOpen = ({ chain, conditions }: Arrival) => !closed(chain) && mayLeaveBy(conditions, selected);
  for (const arrival of arrivals("none")) {
    if (!isOpen(arrival)) continue;
    const { rule, region, certain } = arrival;
    const draft = draftOf(drafts, rule);
    for (const cidr of judged.keptBecauseOf(region, most)) draft.exposes.add(cidr);
    draft.caught.push({ region, judged });
    draft.certain &&= certain;
  }
  for (const arrival of all.filter(isOpen)) {
    draftOf(drafts, arrival.rule).marked ||= judged.keptBecauseOf(arrival.region, 1).length > 0;
  }
}

function draftOf(drafts: Map<TraceableRule, Draft>, rule: TraceableRule): Draft {
  const known = drafts.get(rule);
  if (known) return known;
  const draft: Draft = { arrivals: [], caught: [], exposes: new Set(), marked: false, certain: true };
  drafts.set(rule, draft);
  return draft;
}

/** A table of an expected owner, whose rules are not read. */
function unreadTable(hook: NatHook): Conflict {
  const { owner, means, remedy } = ownerOf([hook.table]);
  const { family, table, base, priority } = hook;
  const rule: TraceableRule = {
    text: `table ${family} ${table}`,
    conditions: [],
    action: { does: "masquerade" },
  };
  return {
    kind: "masquerades",
    owner,
    ...(means !== undefined && { means }),
    ...ruleFacts(hook, { chain: base, rule }),
    runs: priority < OUR_PRIORITY ? "before ipmasq" : "after ipmasq",
    exposes: [],
    certain: true,
    harmless: true,
    remedy,
  };
}

/** A table with our name in a family outside of the policy must not translate anything. */
function judgesOf({ family, table }: NatHook, families: readonly Judged[]): readonly Judged[] {
  const own = families.filter(it => family === "inet" || it.family === family);
  return table === TABLE && family !== "inet" && own.length === 0 ? [keptWhole(family)] : own;
}

function translation(
  hook: NatHook,
  draft: Draft,
  { runs, most, defeats, helps }: Enforcement & { readonly runs: Conflict["runs"]; readonly most: number },
): Conflict[] {
  const { arrivals, exposes, marked, certain } = draft;
  const [first] = arrivals;
  if (!first) return [];
  const known = ownerOfRule(hook, first);
  const { expected = false, owner, means } = known;
  const isHarmless = expected || exposes.size === 0;
  const defeated = defeats && !isHarmless;
  const named = expected ? [] : [...exposes].slice(0, most);
  const only = marked && exposes.size === 0 ? markText(hook, first) : undefined;
  const sources = requiredSources(arrivals);
  const interfaces = requiredInterfaces(arrivals.map(({ conditions }) => conditions));
  const except = most === MOST_NAMED ? leftOut(draft.caught, named, sources) : []; // costly for many rules
  return [
    {
      kind: "masquerades",
      owner,
      ...(means !== undefined && { means }),
      ...ruleFacts(hook, first),
      runs,
      exposes: named,
      ...(exposes.size >= most && !expected && { andMore: true }),
      ...(sources.length > 0 && { sources: sources.slice(0, MOST_NAMED) }),
      ...(interfaces && { interfaces }),
      ...(except.length > 0 && { except }),
      ...(only !== undefined && { only }),
      certain,
      ...(defeated && { defeated }),
      harmless: isHarmless || defeated,
      remedy: remedyFor(known, isHarmless, defeated, helps),
    },
  ];
}

/** The sources that the rule requires on every path; empty if one path has any source. */
function requiredSources(arrivals: readonly Arrival[]): string[] {
  const sources = arrivals.map(({ conditions }) => cidrTexts(conditions, "source"));
  return sources.every(it => it.length > 0) ? [...new Set(sources.flat())] : [];
}

function remedyFor({ owner, remedy }: Owner, harmless: boolean, defeated: boolean, helps: boolean): string {
  if (defeated) return "leave it: enforceNonMasquerade keeps these connections";
  if (!harmless) return helps ? `${remedy}; or set enforceNonMasquerade: true` : remedy;
  return owner === UNKNOWN.owner ? "leave it: it catches no connection that the policy keeps" : remedy;
}

/** Returns whether a rule of the base chain runs before our rules or after them. */
function order(hook: NatHook, { policy, backend }: Ours): (rule: TraceableRule) => Conflict["runs"] {
  if (sharesNat(backend) && isNat(hook)) {
    const rules = hook.chains.get(hook.base) ?? [];
    const jump = rules.findIndex(({ action }) => "to" in action && isOwnName(action.to, policy));
    const family: Family = hook.family === "ip6" ? "ip6" : "ip";
    const own = (chain: string) => isOwnName(chain, policy);
    const { found } = walk(hook.base, hook.chains, {
      ...{ family, from: [everything(family)], marks: "any", find: "translations", closed: own, stops: own },
    });
    const before = new Set(found.map(({ rule }) => rule));
    return rule => (jump < 0 || before.has(rule) ? "before ipmasq" : "after ipmasq");
  }
  const ours = sharesNat(backend) ? NAT.prio : OUR_PRIORITY;
  const before = hook.priority < ours || (hook.priority === ours && hook.registeredAfterUs);
  return () => (before ? "before ipmasq" : "after ipmasq");
}
