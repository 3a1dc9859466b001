import type { Chains } from "../backends/backend-kind.ts";
import { type BackendName, requestedBackend } from "../backends/backends.ts";
import { COMMENTS, EXEMPTIONS } from "../policy/decision.ts";
import type { Policy } from "../policy/policy.ts";
import type { Explanation } from "./explain.ts";

/**
 * Returns an explanation as text, with the verdict first.
 *
 * @param policy the explained policy
 * @param backend the backend whose chains are named
 */
export function explanationText(it: Explanation, policy: Policy, backend: BackendName): string[] {
  if (it.live) return liveText(it, it.live);
  return [
    `${parties(it)}: ${VERDICTS[it.verdict]}`,
    `  because  ${it.reason}`,
    ...(it.within.length > 0 ? [`  within   ${it.within.join(", ")}`] : []),
    `  rule     ${ruleText(it, policy, backend)}`,
    ...addressLine(it),
    ...(it.sourcePorts === undefined ? [] : [`  ports    its source port becomes one of ${it.sourcePorts}`]),
    ...it.assuming.map(assumption => `  if       ${assumption}`),
  ];
}

function liveText(
  it: Explanation,
  { verdict, agrees, rule, chain, cidr, conflicts }: NonNullable<Explanation["live"]>,
): string[] {
  return [
    `${parties(it)}: ${VERDICTS[verdict]}`,
    rule === undefined ? "  because  no rule of ipmasq in the kernel matches it" : `  because  ${rule}`,
    ...(chain === undefined ? [] : [`  in       chain ${chain}${cidr === undefined ? "" : `, by ${cidr}`}`]),
    ...(agrees ? [] : addressLine(it)),
    agrees ? "  config   agrees" : `  config   DIFFERS: ${VERDICTS[it.verdict]}; ${it.reason}`,
    ...it.assuming.map(assumption => `  if       ${assumption}`),
    ...conflicts.map(conflict => `  BUT      ${conflict} may ${CONTRADICTS[verdict]} it; run ipmasq status`),
  ];
}

function addressLine({ sourceAddress }: Explanation): string[] {
  return sourceAddress ? [`  address  ${sourceAddress.reason}`] : [];
}

const CONTRADICTS = { keep: "catch", masquerade: "exempt", unknown: "catch" } as const;

function parties({ source, destination }: Explanation): string {
  return source === undefined ? destination : `${source} to ${destination}`;
}

const VERDICTS = {
  keep: "keeps its address",
  masquerade: "gets the node's address (masquerade)",
  unknown: "unknown: a rule in the chains of ipmasq is not understood",
} as const;

/** Returns an explanation in one line. */
export function explanationLine(it: Explanation): string {
  if (it.live) {
    const { verdict, rule = "no rule", agrees } = it.live;
    return `${parties(it).replace(" to ", " ")}\t${verdict}\t${rule}${agrees ? "" : ` (the config says ${it.verdict})`}`;
  }
  const assuming = it.assuming.length > 0 ? ` (if ${it.assuming.join(", and ")})` : "";
  return `${parties(it).replace(" to ", " ")}\t${it.verdict}\t${it.reason}${assuming}`;
}

const NO_RULE = "none: ipmasq does not masquerade this family";

const WORDS: { readonly [step in Explanation["rule"]]?: string } = COMMENTS;

/** The deciding rule, as the kernel has it. */
function ruleText(
  { rule, destination, enforced }: Explanation,
  policy: Policy,
  backend: BackendName,
): string {
  const of = destination.includes(":") ? "ip6" : "ip";
  const family = policy.families.find(it => it.family === of);
  if (!family) return NO_RULE;
  const chains: Chains = requestedBackend(backend).chains(policy, family);
  const { base, check, verdict, outbound, excludesBroadcast, excludesInterfaces, alwaysExempts } = chains;
  const isExempt = alwaysExempts && EXEMPTIONS.has(rule);
  if (family.sources?.effective.length === 0 && !isExempt) return NO_RULE;
  const masquerading = outbound === verdict ? "" : `, masqueraded in chain ${outbound}`;
  const { enforce, enforceDestinations } = chains;
  if (enforced && enforce !== undefined) {
    const where = rule === "non-masquerade-cidr" ? enforceDestinations : enforce;
    return `"${WORDS[rule]}" in chain ${where}, before the rules of other programs`;
  }
  switch (rule) {
    case "family":
      return NO_RULE;
    case "local":
      return `none: chain ${base} excludes addresses of the node`;
    case "source":
      return `none: chain ${check} requires a source in sourceCIDRs`;
    case "output-interface":
      if (!policy.outputInterfaces?.except)
        return `none: chain ${check} requires one of the outputInterfaces`;
      if (excludesInterfaces) return `none: chain ${check} excludes the interface`;
      return `"${COMMENTS[rule]}" in chain ${check}`;
    case "broadcast":
      if (excludesBroadcast) return `none: chain ${base} excludes broadcast`;
      return `"${COMMENTS[rule]}" in chain ${check}`;
    case "non-masquerade-source-cidr":
      return `"${COMMENTS[rule]}" in chain ${policy.chain}`;
    case "masquerade-cidr":
      return `"${COMMENTS[rule]}" in chain ${verdict}${masquerading}`;
    case "outbound":
      return `"${COMMENTS[rule]}", the last rule of chain ${verdict}${masquerading}`;
    default:
      return `"${COMMENTS[rule]}" in chain ${EXEMPTIONS.has(rule) ? check : verdict}`;
  }
}
