import { some } from "../conflicts/conflict.ts";
import { FAMILY_NAMES } from "../net/cidr.ts";
import { grouped } from "../system/grouped.ts";
import type { PacketsJson, RuleJson, VerificationJson } from "./verification.ts";

type FamilyJson = VerificationJson["families"][number];

/** Returns a verification as text, the result of each family first. */
export function verificationText({ families, unread, assuming }: VerificationJson): string[] {
  return [
    ...families.flatMap(it => familyText(it, unread.length === 0)),
    ...unread.map(it => `not read: ${it}`),
    ...assuming.map(it => `assuming: ${it}`),
  ];
}

function familyText(it: FamilyJson, isRead: boolean): string[] {
  return [headline(it, isRead), ...it.findings.flatMap(packetsText), ...leftTexts(it.leftToOthers)];
}

function headline(it: FamilyJson, isRead: boolean): string {
  const { family, destinations, pieces, differing, unproven, failure } = it;
  const all = `all ${grouped(destinations)} ${FAMILY_NAMES[family]} destinations`;
  if (failure !== undefined) return `NOT PROVEN for ${all}: ${failure}`;
  const open = [
    ...(unproven > 0 ? [`${grouped(unproven)} not understood`] : []),
    ...(isRead ? [] : ["and not all rules were read"]),
  ];
  const counts = `(${grouped(pieces)} pieces): ${[`${grouped(differing)} differ`, ...open].join(", ")}`;
  if (differing > 0) return `DIFFERS from the policy, of ${all} ${counts}`;
  return `${open.length > 0 ? "NOT PROVEN" : "proven"} for ${all} ${counts}`;
}

const VERDICTS: Readonly<Record<PacketsJson["kernel"], string>> = {
  keep: "keeps its address",
  masquerade: "gets the node's address",
  "other address": "gets another address",
  unknown: "depends on a rule that is not understood",
};

function packetsText(it: PacketsJson): string[] {
  const verdict = it.policy === "keep" ? "keeps it" : "masquerades it";
  const by = it.by ? ruleText(it.by) : "no rule";
  return [
    `  ${destinationText(it)}: ${VERDICTS[it.kernel]}, but the policy ${verdict}`,
    ...limitTexts(it).map(line => `    ${line}`),
    ...(it.kernel === "unknown" ? [] : [`    by        ${by}`]),
    ...it.unclear.map(rule => `    unclear   ${ruleText(rule)}`),
    ...(it.kernel === "unknown" && it.unclear.length === 0 ? [UNCLEAR_ORDER] : []),
  ];
}

const UNCLEAR_ORDER = "    unclear   the order of chains with the same priority";

function destinationText({ destinations, moreDestinations }: PacketsJson): string {
  return moreDestinations ? `${some(destinations)} and more` : some(destinations);
}

function limitTexts({ sources, interfaces, transport, marks, ipsec }: PacketsJson): string[] {
  return [
    ...(sources ? [`from      ${some(sources)}`] : []),
    ...(interfaces ? [`out       ${some(interfaces)}`] : []),
    ...(transport ? [`protocol  ${some(transport)}`] : []),
    ...(marks ? [`mark      ${some(marks)}`] : []),
    ...(ipsec ? ["ipsec     under an IPsec policy"] : []),
  ];
}

function ruleText({ rule, owner, tool, family, table, chain }: RuleJson): string {
  return `${rule} (${owner}; ${tool}, table ${family} ${table}, chain ${chain})`;
}

/** The maximum number of foreign rules that are named where the policy does not decide. */
const MOST_LEFT = 10;

/** Packets that the policy leaves to foreign rules, in one line for each rule. */
function leftTexts(left: FamilyJson["leftToOthers"]): string[] {
  const byRule = new Map<string, Set<string>>();
  for (const { by, unclear, kernel, marks, ipsec, unselected } of left) {
    const rule = (kernel === "unknown" ? unclear[0] : undefined) ?? by;
    const text = rule ? ruleText(rule) : "no rule";
    const which = byRule.get(text) ?? new Set();
    byRule.set(text, which);
    if (marks?.some(it => !it.startsWith("!"))) for (const mark of marks) which.add(`mark ${mark}`);
    else if (unselected) which.add("other sources or interfaces");
    else which.add(ipsec ? "IPsec" : "the node itself, multicast, broadcast");
  }
  const lines = [...byRule].map(([rule, which]) => `  not ours  ${[...which].join("; ")}: ${rule}`);
  const more = lines.length - MOST_LEFT;
  return [
    ...lines.slice(0, MOST_LEFT),
    ...(more > 0 ? ["  not ours  and more rules; see --output=json"] : []),
  ];
}
