import { every, rangesOf } from "../net/ranges.ts";
import type { Condition } from "../net/trace.ts";
import { type Conflict, MOST_NAMED } from "./conflict.ts";
import { mayLeaveBy, requiredInterfaces } from "./interfaces.ts";
import { type Judged, type Ours, WHOLE } from "./judged.ts";
import { isNat, type NatHook } from "./nat-hook.ts";
import { isDecidingName, sharesNat } from "./own-rules.ts";
import { isExpected, ownerOfRule } from "./owners.ts";
import { everything, within } from "./region.ts";
import { cidrTexts, packetText, ruleFacts } from "./rule-text.ts";
import { type Arrival, walk } from "./walk.ts";

/**
 * Returns the foreign rules that exempt connections from NAT although the policy masquerades them. Such a rule is an
 * ACCEPT, or a RETURN in POSTROUTING itself, before our jump in table `nat`. These rules end NAT for an
 * ip-masq-agent's chain in the same table, but not for our own base chain at a later priority. Exemptions in other
 * base chains affect only those chains (measured on kernel 6.18).
 */
export function exemptions(hooks: readonly NatHook[], ours: Ours): Conflict[] {
  return hooks.flatMap(hook => exemptionsIn(hook, ours));
}

function exemptionsIn(hook: NatHook, ours: Ours): Conflict[] {
  const { policy, families } = ours;
  const judged = isNat(hook) && families.find(({ family }) => family === hook.family);
  if (!judged) return [];
  const { found } = walk(hook.base, hook.chains, {
    family: judged.family,
    from: [everything(judged.family)],
    marks: "any",
    find: "exemptions",
    closed: isExpected,
    stops: chain => isDecidingName(chain, policy),
  });
  return found
    .filter(
      ({ conditions, region }) =>
        mayLeaveBy(conditions, policy.outputInterfaces) && judged.masquerades(region),
    )
    .map(arrival => exemption(hook, arrival, judged, ours));
}

function exemption(hook: NatHook, arrival: Arrival, judged: Judged, { backend }: Ours): Conflict {
  const { conditions, certain } = arrival;
  const destinations = exemptedCidrs(arrival, judged);
  const exempts = destinations.length > 0 ? destinations : [WHOLE[judged.family]];
  const sources = cidrTexts(conditions, "source");
  const interfaces = requiredInterfaces([conditions]);
  const only = packetText(conditions);
  return {
    kind: "exempts",
    owner: ownerOfRule(hook, arrival).owner,
    ...ruleFacts(hook, arrival),
    runs: "before ipmasq",
    exposes: [],
    exempts: exempts.slice(0, MOST_NAMED),
    ...(sources.length > 0 && { sources: sources.slice(0, MOST_NAMED) }),
    ...(interfaces && { interfaces }),
    ...(only !== undefined && { only }),
    certain,
    harmless: sharesNat(backend), // then the exemption takes effect
    remedy: [
      "start the agent with --backend=iptables, where the rule takes effect",
      ...configKeys(arrival, destinations, sources).map(key => `or add ${key}`),
    ].join(", "),
  };
}

/** The destinations of a rule that contain connections that the policy masquerades. */
function exemptedCidrs({ conditions, region }: Arrival, judged: Judged): string[] {
  const sources = every(judged.family);
  const cidrs = conditions.flatMap(it => (it.on === "destination" && !it.not ? it.cidrs : []));
  const exempted = cidrs.filter(cidr =>
    judged.masquerades(within(region, { destinations: rangesOf([cidr]), sources })),
  );
  return [...new Set(exempted.map(({ text }) => text))];
}

/** The config keys that exempt the same connections, if any. */
function configKeys(
  { certain, conditions }: Arrival,
  destinations: readonly string[],
  sources: readonly string[],
): string[] {
  if (!certain || !conditions.every(({ on }) => IN_CONFIG.has(on))) return [];
  if (sources.length === 0 && destinations.length > 0)
    return [`${destinations.join(" ")} to nonMasqueradeCIDRs`];
  if (destinations.length === 0 && sources.length > 0)
    return [`${sources.join(" ")} to nonMasqueradeSourceCIDRs`];
  return [];
}

/** Conditions that a config key can express, or that always hold for masqueraded connections. */
const IN_CONFIG = new Set<Condition["on"]>(["destination", "source", "family", "local"]);
