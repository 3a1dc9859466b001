import type { Backend } from "../backends/backend.ts";
import { isOwnText, ownChainNames, TABLE } from "../backends/ownership.ts";
import type { Cidr, Family } from "../net/cidr.ts";
import { every, rangesOf } from "../net/ranges.ts";
import type { Condition, TraceableRule } from "../net/trace.ts";
import type { Policy } from "../policy/policy.ts";
import type { Conflict } from "./conflict.ts";
import type { NatHook } from "./foreign.ts";
import { type Judged, judgedFamilies, keptWhole, WHOLE } from "./judged.ts";
import { type Owner, ownerOf, UNKNOWN } from "./owners.ts";
import { type Box, everything, within } from "./region.ts";
import { type Arrival, type WalkOptions, walk } from "./walk.ts";

/** The most CIDRs named for one rule: if a base chain leads to few rules, and if it leads to many. */
const MOST_NAMED = 1000;
const MOST_NAMED_OF_MANY = 100;
const FEW_RULES = 50;

/** Receives base chains whose rules branch too often to follow all of them. */
type CutShort = (hook: NatHook) => void;

/**
 * The conflicts of foreign rules with a policy, those that matter first. Asks no kernel.
 *
 * @param backend of ours; undefined if none is chosen
 */
export function judge(
  hooks: readonly NatHook[],
  policy: Policy,
  backend: Backend["name"] | undefined,
  cutShort: CutShort = () => {},
): Conflict[] {
  const families = judgedFamilies(policy);
  const all = hooks
    .filter(hook => !isOwnTable(hook, policy))
    .flatMap(hook => translations(hook, policy, families, backend, cutShort));
  return [...all, ...exemptionsBy(families, hooks, policy, backend)].toSorted(
    (a, b) => Number(a.harmless) - Number(b.harmless) || a.priority - b.priority,
  );
}

/**
 * The foreign rules that exempt connections from NAT which the policy masquerades: an ACCEPT, or in POSTROUTING itself
 * a RETURN, in front of our jump in table `nat`. They end NAT for an ip-masq-agent's chain in the same table, but not
 * for our own base chain at a later priority. Exemptions in other base chains affect only those chains (measured on
 * kernel 6.18). Does not ask the kernel.
 *
 * @param backend our backend: with iptables the exemptions take effect, so they are harmless
 */
export function exemptions(
  hooks: readonly NatHook[],
  policy: Policy,
  backend: Backend["name"] | undefined,
): Conflict[] {
  return exemptionsBy(judgedFamilies(policy), hooks, policy, backend);
}

function exemptionsBy(
  families: readonly Judged[],
  hooks: readonly NatHook[],
  policy: Policy,
  backend: Backend["name"] | undefined,
): Conflict[] {
  return hooks.filter(isNat).flatMap(hook => {
    const it = families.find(({ family }) => family === hook.family);
    if (!it) return [];
    const own = (chain: string) => isOwnName(chain, policy) || isOwnChain(hook, chain, policy);
    const { found } = walk(hook.base, hook.chains, {
      family: it.family,
      from: [everything(it.family)],
      marks: "any",
      closed: isExpected,
      wanted: "exemptions",
      stops: own,
    });
    const leaving = found.filter(
      ({ conditions, region }) => mayLeaveBy(conditions, policy) && it.masquerades(region),
    );
    return leaving.map(arrival => exemption(hook, arrival, it, backend));
  });
}

/** What `readNatHooks` need not read for `judge`: the rules that are ours. */
export function isOurs(
  policy: Policy,
  backend: Backend["name"] | undefined,
): (family: NatHook["family"], table: string, chain: string) => boolean {
  return (family, table, chain) =>
    isOwnTable({ family, table }, policy) ||
    (table === "nat" && backend === "iptables" && isOwnName(chain, policy));
}

/** Whether it is the table of iptables, or of nft in its place. */
function isNat({ table, base, priority }: NatHook): boolean {
  return table === "nat" && base === POSTROUTING && priority === NAT_PRIORITY;
}

const POSTROUTING = "POSTROUTING";
const NAT_PRIORITY = 100;

/** Our own base chain with nftables. */
const OUR_PRIORITY = 101;

function isOwnTable({ family, table }: Pick<NatHook, "family" | "table">, { enabled }: Policy): boolean {
  return table === TABLE && enabled.some(it => it === family);
}

/** Whether the chain is the policy's, or one beside it, by its name. */
function isOwnName(chain: string, policy: Policy): boolean {
  return ownChainNames(policy.chain).includes(chain);
}

/** Whether ipmasq wrote the chain: ip-masq-agent's comments differ. */
function isOwnChain({ chains }: NatHook, chain: string, policy: Policy): boolean {
  const rules = chains.get(chain) ?? [];
  return isOwnName(chain, policy) && rules.length > 0 && rules.every(({ text }) => isOwnText(text));
}

function isExpected(name: string): boolean {
  return ownerOf([name]).expected ?? false;
}

/** Whether a connection that our policy masquerades may leave by the interfaces that conditions name. */
function mayLeaveBy(conditions: readonly Condition[], { outputInterfaces }: Policy): boolean {
  if (!outputInterfaces) return true;
  const same = (name: string) =>
    outputInterfaces.some(it => {
      const [a, b] = [it, name].map(text => text.replace(/\*$/, ""));
      return (
        it === name ||
        (it.endsWith("*") && b?.startsWith(`${a}`)) ||
        (name.endsWith("*") && a?.startsWith(`${b}`))
      );
    });
  return conditions.every(it => it.on !== "out" || it.not || it.names.some(same));
}

/** Facts about a rule, collected over all families and paths. */
interface Draft {
  readonly arrivals: Arrival[];
  readonly exposes: Set<string>;
  /** Whether it catches packets that the policy keeps if they are marked. */
  marked: boolean;
  certain: boolean;
}

function translations(
  hook: NatHook,
  policy: Policy,
  families: readonly Judged[],
  backend: Backend["name"] | undefined,
  cutShort: CutShort,
): Conflict[] {
  if (hook.tool === "nft" && isExpected(hook.table)) return [unreadTable(hook)];
  const own = (chain: string) =>
    isOwnChain(hook, chain, policy) || (backend === "iptables" && isOwnName(chain, policy));
  const closed = (chain: string) => own(chain) || isExpected(chain);
  const drafts = new Map<TraceableRule, Draft>();
  const draft = (rule: TraceableRule): Draft => {
    const known = drafts.get(rule);
    if (known) return known;
    const made: Draft = { arrivals: [], exposes: new Set(), marked: false, certain: true };
    drafts.set(rule, made);
    return made;
  };
  const all: readonly Family[] = hook.family === "inet" ? ["ip", "ip6"] : [hook.family];
  const judging = judgedBy(hook, families);
  for (const family of all) {
    const go = (marks: WalkOptions["marks"]) => {
      const from = [everything(family)];
      const options = { family, from, marks, closed, wanted: "translations" } as const;
      const { found, complete } = walk(hook.base, hook.chains, options);
      if (!complete) cutShort(hook);
      return found.filter(({ chain }) => !own(chain));
    };
    const it = judging.find(judged => judged.family === family);
    const listed = go("any");
    for (const arrival of listed) {
      draft(arrival.rule).arrivals.push(arrival);
      draft(arrival.rule).certain &&= arrival.certain;
    }
    if (!it) continue;
    const most = listed.length > FEW_RULES ? MOST_NAMED_OF_MANY : MOST_NAMED;
    for (const arrival of go("none")) {
      if (closed(arrival.chain)) continue;
      for (const cidr of it.keptBecauseOf(arrival.region, most)) draft(arrival.rule).exposes.add(cidr);
      draft(arrival.rule).certain &&= arrival.certain;
    }
    for (const arrival of listed) {
      if (!closed(arrival.chain))
        draft(arrival.rule).marked ||= it.keptBecauseOf(arrival.region, 1).length > 0;
    }
  }
  const before = behindUs(hook, policy, backend);
  const most = drafts.size > FEW_RULES ? MOST_NAMED_OF_MANY : MOST_NAMED;
  return [...drafts].flatMap(([rule, it]) => translation(hook, rule, it, before(rule), most));
}

/** The table of an owner whose rules are known to be harmless, which was not read. */
function unreadTable(hook: NatHook): Conflict {
  const { owner, remedy } = ownerOf([hook.table]);
  const { tool, family, table, base, priority } = hook;
  return {
    kind: "masquerades",
    owner,
    tool,
    family,
    table,
    chain: base,
    rule: `table ${family} ${table}`,
    priority,
    runs: priority < OUR_PRIORITY ? "before us" : "after us",
    exposes: [],
    certain: true,
    harmless: true,
    remedy,
  };
}

/** A table of our name in a family outside of the policy should not translate anything. */
function judgedBy({ family, table }: NatHook, families: readonly Judged[]): readonly Judged[] {
  const own = families.filter(it => family === "inet" || it.family === family);
  return table === TABLE && family !== "inet" && own.length === 0 ? [keptWhole(family)] : own;
}

function translation(
  hook: NatHook,
  rule: TraceableRule,
  { arrivals, exposes, marked, certain }: Draft,
  runs: Conflict["runs"],
  most: number,
): Conflict[] {
  const [first] = arrivals;
  if (!first) return [];
  const { expected = false, owner, remedy } = ownerOfRule(hook, first);
  const harmless = expected || exposes.size === 0;
  const mark = marked && exposes.size === 0 ? markOf(hook, first) : undefined;
  const sources = arrivals.map(({ conditions }) => positive(conditions, "source"));
  const narrowed = sources.every(it => it.length > 0) ? [...new Set(sources.flat())] : [];
  return [
    {
      kind: "masquerades",
      owner,
      tool: hook.tool,
      family: hook.family,
      table: hook.table,
      chain: first.chain,
      rule: rule.text,
      priority: hook.priority,
      runs,
      exposes: expected ? [] : [...exposes].slice(0, most),
      ...(exposes.size >= most && !expected && { andMore: true }),
      ...(narrowed.length > 0 && { sources: narrowed.slice(0, MOST_NAMED) }),
      ...(mark !== undefined && { only: mark }),
      certain,
      harmless,
      remedy:
        harmless && owner === UNKNOWN.owner
          ? "leave it: it catches no connection that the policy keeps"
          : remedy,
    },
  ];
}

function exemption(
  hook: NatHook,
  arrival: Arrival,
  it: Judged,
  backend: Backend["name"] | undefined,
): Conflict {
  const { conditions, region, rule, chain, certain } = arrival;
  const reached = conditions.flatMap(condition =>
    condition.on === "destination" && !condition.not
      ? condition.cidrs.filter(cidr => it.masquerades(within(region, toOne(cidr))))
      : [],
  );
  const exempts = reached.length > 0 ? [...new Set(reached.map(({ text }) => text))] : [WHOLE[it.family]];
  const sources = positive(conditions, "source");
  const mark = markText(conditions);
  const plain = certain && conditions.every(({ on }) => PLAIN.has(on));
  const keys = [
    ...(plain && reached.length > 0 && sources.length === 0
      ? [`${exempts.join(" ")} to nonMasqueradeCIDRs`]
      : []),
    ...(plain && reached.length === 0 && sources.length > 0
      ? [`${sources.join(" ")} to nonMasqueradeSourceCIDRs`]
      : []),
  ];
  return {
    kind: "exempts",
    owner: ownerOfRule(hook, arrival).owner,
    tool: hook.tool,
    family: hook.family,
    table: hook.table,
    chain,
    rule: rule.text,
    priority: hook.priority,
    runs: "before us",
    exposes: [],
    exempts: exempts.slice(0, MOST_NAMED),
    ...(sources.length > 0 && { sources: sources.slice(0, MOST_NAMED) }),
    ...(mark !== undefined && { only: mark }),
    certain,
    harmless: backend === "iptables",
    remedy: [
      "start the agent with --backend=iptables, where the rule takes effect",
      ...keys.map(key => `or add ${key}`),
    ].join(", "),
  };
}

function toOne(cidr: Cidr): Box {
  return { destinations: rangesOf([cidr]), sources: every(cidr.family) };
}

/** Conditions that a key of the config can express. */
const PLAIN = new Set<Condition["on"]>(["destination", "source", "family", "local"]);

function positive(conditions: readonly Condition[], on: "source" | "destination"): string[] {
  const texts = conditions.flatMap(it => (it.on === on && !it.not ? it.cidrs.map(({ text }) => text) : []));
  return [...new Set(texts)];
}

/** The marked packets to which a rule is limited, by its own conditions or by rules before it. */
function markOf({ chains }: NatHook, { conditions, way, rule }: Arrival): string {
  const own = markText(conditions);
  if (own !== undefined) return own;
  const before = way.flatMap(chain => (chains.get(chain) ?? []).filter(it => it !== rule));
  const sparing = before.find(
    it => it.conditions.some(({ on }) => on === "mark") && ["return", "accept"].includes(it.action.does),
  );
  const text =
    sparing && markText(sparing.conditions.map(it => (it.on === "mark" ? { ...it, not: !it.not } : it)));
  return text ?? "marked packets";
}

function markText(conditions: readonly Condition[]): string | undefined {
  const marks = conditions.flatMap(it => (it.on === "mark" ? [it] : []));
  const texts = marks.map(({ not, value, mask }) => {
    const bits = mask === 0xffffffff ? "" : `/${hex(mask)}`;
    // "Any of these bits" is printed as the bits.
    return not && value === 0
      ? `mark ${hex(mask)}${bits}`
      : `mark ${not ? "other than " : ""}${hex(value)}${bits}`;
  });
  return texts.length > 0 ? `packets with ${[...new Set(texts)].join(" and ")}` : undefined;
}

function hex(number: number): string {
  return `0x${(number >>> 0).toString(16)}`;
}

/** Whether a rule runs before ours or after. */
function behindUs(
  hook: NatHook,
  policy: Policy,
  backend: Backend["name"] | undefined,
): (rule: TraceableRule) => Conflict["runs"] {
  if (backend === "iptables" && isNat(hook)) {
    const rules = hook.chains.get(hook.base) ?? [];
    const ours = rules.findIndex(({ action }) => "to" in action && isOwnName(action.to, policy));
    const family: Family = hook.family === "ip6" ? "ip6" : "ip";
    const closed = (chain: string) => isOwnName(chain, policy);
    const options = {
      family,
      from: [everything(family)],
      marks: "any",
      wanted: "translations",
      closed,
    } as const;
    const { found } = walk(hook.base, hook.chains, { ...options, stops: closed });
    const before = new Set(found.map(({ rule }) => rule));
    return rule => (ours < 0 || before.has(rule) ? "before us" : "after us");
  }
  const ours = backend === "iptables" ? NAT_PRIORITY : OUR_PRIORITY;
  const before = hook.priority < ours || (hook.priority === ours && hook.registeredAfterUs);
  return () => (before ? "before us" : "after us");
}

function ownerOfRule({ table, tool }: NatHook, { way, rule, conditions }: Arrival): Owner {
  const interfaces = conditions.flatMap(it => (it.on === "out" ? it.names : []));
  return ownerOf(
    [...interfaces, ...way.toReversed(), ...(tool === "nft" ? [table] : [])],
    commentOf(rule.text),
  );
}

/** As iptables and nft print it. */
function commentOf(text: string): string | undefined {
  const [, quoted, bare] = /(?<!-m )comment (?:"((?:[^"\\]|\\.)*)"|(\S+))/.exec(text) ?? [];
  return quoted ?? bare;
}
