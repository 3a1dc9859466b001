import * as v from "valibot";
import type { Backend } from "../backends/backend.ts";
import type { Condition, KernelRule } from "../backends/rules.ts";
import type { Cidr, Family } from "../net/cidr.ts";
import type { FamilyPolicy, Policy } from "../policy/policy.ts";
import type { NatHook } from "./foreign.ts";

/** A rule of somebody else that gives connections another source address. */
export const Competing = v.object({
  owner: v.pipe(v.string(), v.description("who made the rule, as far as that can be seen")),
  tool: v.picklist(["nft", "iptables-nft", "iptables-legacy"]),
  family: v.picklist(["ip", "ip6", "inet"]),
  table: v.string(),
  chain: v.string(),
  rule: v.string(),
  priority: v.number(),
  runs: v.pipe(v.picklist(["before us", "after us"]), v.description("its base chain, seen from ours")),
  exposes: v.pipe(v.array(v.string()), v.description("non-masquerade CIDRs whose connections it may catch")),
  sources: v.pipe(
    v.optional(v.array(v.string())),
    v.description("if it catches connections from these only"),
  ),
  certain: v.pipe(v.boolean(), v.description("false if a condition of the rule is not understood")),
  harmless: v.boolean(),
  remedy: v.string(),
});
export type Competing = v.InferOutput<typeof Competing>;

/**
 * The rules that compete with a policy, those that expose something first. Asks no kernel.
 *
 * @param backend of ours: with iptables, the policy's chain in table nat is no rule of others
 */
export function competing(
  hooks: readonly NatHook[],
  policy: Policy,
  backend: Backend["name"] | undefined,
): Competing[] {
  const ours = backend === "iptables" ? policy.chain : undefined;
  const all = hooks.flatMap(hook => translations(hook, ours).map(found => judged(hook, found, policy)));
  return all.toSorted((a, b) => Number(a.harmless) - Number(b.harmless) || a.priority - b.priority);
}

/** Our own base chain with nftables; with iptables it is the end of the one at 100. */
const OUR_PRIORITY = 101;

/** A rule that translates, or may do so, and what has to be so for a connection to come to it. */
interface Translation {
  readonly chain: string;
  readonly rule: KernelRule;
  readonly conditions: readonly Condition[];
  /** Conditions of rules before it, under each of which a connection does not come to it. */
  readonly spared: readonly (readonly Condition[])[];
  /** The chains on the way, the base chain first. */
  readonly way: readonly string[];
}

/**
 * Where a rule may lead anywhere, by a map of verdicts say, every chain of the table that is not come to otherwise is
 * taken to be led to.
 */
function translations({ base, chains }: NatHook, ours: string | undefined): Translation[] {
  const seen = new Set<string>();
  let anywhere = false;
  const walk = (
    chain: string,
    conditions: readonly Condition[],
    sparedBefore: readonly (readonly Condition[])[],
    before: readonly string[],
  ): Translation[] => {
    if (before.includes(chain) || before.length > MOST_JUMPS) return [];
    seen.add(chain);
    const spared = [...sparedBefore];
    const way = [...before, chain];
    return (chains.get(chain) ?? []).flatMap(rule => {
      const { action } = rule;
      const all = [...conditions, ...rule.conditions];
      if (action.does === "return" || action.does === "accept") spared.push(rule.conditions);
      if (action.does === "unknown") anywhere = true;
      if (action.does === "jump" || action.does === "goto") {
        return action.to === ours ? [] : walk(action.to, all, spared, way);
      }
      if (action.does !== "masquerade" && action.does !== "snat") return [];
      return [{ chain, rule, conditions: all, spared: [...spared], way }];
    });
  };
  const found = walk(base, [], [], []);
  if (!anywhere) return found;
  const others = [...chains.keys()].filter(chain => !seen.has(chain) && chain !== ours);
  return [...found, ...others.flatMap(chain => walk(chain, [{ on: "unknown" }], [], [base]))];
}

/** The kernel allows 16 jumps. */
const MOST_JUMPS = 16;

function judged(hook: NatHook, found: Translation, policy: Policy): Competing {
  const { conditions, spared, rule, chain } = found;
  const { owner, remedy, expected } = ownerOf(hook, found);
  const families: readonly Family[] = hook.family === "inet" ? ["ip", "ip6"] : [hook.family];
  const exposes = policy.families
    .filter(({ family }) => families.includes(family))
    .flatMap(family => keptBy(family).filter(cidr => mayCatch(found, cidr, family)))
    .map(({ text }) => text);
  const sources = conditions.flatMap(it =>
    it.on === "source" && !it.not ? it.cidrs.map(({ text }) => text) : [],
  );
  return {
    owner,
    tool: hook.tool,
    family: hook.family,
    table: hook.table,
    chain,
    rule: rule.text,
    priority: hook.priority,
    runs: hook.priority < OUR_PRIORITY ? "before us" : "after us",
    exposes: expected ? [] : exposes,
    ...(sources.length > 0 && { sources }),
    certain: [conditions, ...spared].flat().every(({ on }) => on !== "unknown"),
    harmless: expected || exposes.length === 0,
    remedy,
  };
}

function keptBy({ nonMasquerade, masquerade }: FamilyPolicy): Cidr[] {
  return nonMasquerade.outer
    .map(({ cidr }) => cidr)
    .filter(cidr => !masquerade.outer.some(it => it.cidr.contains(cidr)));
}

/** Whether the rule may catch a connection to the block that our policy keeps. */
function mayCatch({ conditions, spared }: Translation, block: Cidr, { sources }: FamilyPolicy): boolean {
  const mayBe = (it: Condition): boolean => {
    if (it.on === "local") return it.not;
    if (it.on === "destination")
      return it.not ? !it.cidrs.some(cidr => cidr.contains(block)) : overlaps(it.cidrs, [block]);
    if (it.on === "source" && !it.not && sources) {
      return overlaps(
        it.cidrs,
        sources.outer.map(({ cidr }) => cidr),
      );
    }
    return it.on !== "source" || it.not || it.cidrs.some(({ family }) => family === block.family);
  };
  const sparesAll = (all: readonly Condition[]) => all.every(it => holdsFor(it, block));
  return conditions.every(mayBe) && !spared.some(sparesAll);
}

/** Whether a condition is so for each connection to the block that is not for the node itself. */
function holdsFor(condition: Condition, block: Cidr): boolean {
  if (condition.on === "local") return condition.not;
  if (condition.on !== "destination") return false;
  return condition.not
    ? !overlaps(condition.cidrs, [block])
    : condition.cidrs.some(cidr => cidr.contains(block));
}

function overlaps(some: readonly Cidr[], others: readonly Cidr[]): boolean {
  return some.some(a => others.some(b => a.contains(b) || b.contains(a)));
}

interface Owner {
  readonly owner: string;
  readonly remedy: string;
  /** Whether the rule is part of how a cluster works, and catches only what was marked for it. */
  readonly expected: boolean;
}

/** By the names of tables and chains on the way, and by interfaces in the rule. */
function ownerOf({ table, tool }: NatHook, { way, rule }: Translation): Owner {
  const names = [...(tool === "nft" ? [table] : []), ...way, ...interfaces(rule)].toReversed();
  for (const name of names) {
    const known = OWNERS.find(([pattern]) => pattern.test(name));
    if (known) return { owner: known[1], remedy: known[2], expected: known[3] ?? false };
  }
  return {
    owner: "unknown",
    remedy: "find out who made it; remove it if these connections are to keep their address",
    expected: false,
  };
}

/** docker's rules stand in POSTROUTING itself, and say `! -o docker0`. */
function interfaces({ conditions }: KernelRule): string[] {
  return conditions.flatMap(it => (it.on === "out" ? it.names : []));
}

const OWNERS: readonly (readonly [name: RegExp, owner: string, remedy: string, expected?: boolean])[] = [
  [/^(KUBE-|kube-proxy$)/, "kube-proxy or kubelet", "leave it: it catches only what kube-proxy marked", true],
  [
    /^(NETAVARK-HOSTPORT|CNI-HOSTPORT|netavark_hostport)/i,
    "published ports of containers",
    "leave it: it catches only what was marked for a published port",
    true,
  ],
  [
    /^FLANNEL|^flannel/i,
    "flannel",
    "start flanneld without --ip-masq (kube-flannel: remove it from its arguments)",
  ],
  [/^(nat-)?cali/i, "calico", "set natOutgoing: false in the IPPool"],
  [/^(CILIUM_|cilium)/i, "cilium", "set enable-ipv4-masquerade and enable-ipv6-masquerade to false"],
  [
    /^(CNI-|cni_plugins|cni_)/,
    "a CNI plugin with ipMasq",
    'set "ipMasq": false in its file in /etc/cni/net.d, and make the Pods again',
  ],
  [/^(KIND-MASQ|kindnet)/i, "kindnet", "start kindnet with its masquerading switched off"],
  [
    /^(docker|br-[0-9a-f]{12})/i,
    "docker",
    'leave it if only containers of docker are meant; else set "ip-masq": false in daemon.json',
  ],
  [
    /^(NETAVARK|netavark)/,
    "podman (netavark)",
    "leave it if only containers of podman are meant; else give their network no masquerading",
  ],
  [
    /^(LIBVIRT|libvirt)/,
    "libvirt",
    "leave it if only its machines are meant; else use <forward mode='route'/>",
  ],
  [
    /^(firewalld|POST_|POSTROUTING_(ZONES|POLICIES|direct))/,
    "firewalld",
    "take masquerading from the zone: firewall-cmd --zone=ZONE --remove-masquerade --permanent",
  ],
  [/^IP-MASQ/i, "another ip-masq-agent", "remove that agent, and then its chain"],
];

/** A rule in one line, for lists and for the log. */
export function competingText({ owner, tool, family, table, chain, rule }: Competing): string {
  return `${owner}: ${rule} (${tool}, table ${family} ${table}, chain ${chain})`;
}
