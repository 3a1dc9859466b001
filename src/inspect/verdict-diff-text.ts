import { FAMILY_NAMES } from "../net/cidr.ts";
import type { Verdict } from "../net/verdict.ts";
import { formatInterfaceSet } from "./interface-set.ts";
import { complement, type SettingChange, simplified, type VerdictChange } from "./verdict-diff.ts";

/** The maximum number of entries shown of an unchanged list, which is printed on one line. */
const MOST_ON_A_LINE = 8;

/**
 * Returns the changes as text. A changed list is complete, with one entry per line.
 *
 * @param live the number of live connections that each change concerns; undefined if they were not counted
 */
export function verdictDiffText(
  changes: readonly VerdictChange[],
  settings: readonly SettingChange[],
  live?: readonly number[],
): string[] {
  return [
    ...(changes.length === 0
      ? ["The same connections are masqueraded."]
      : changes.flatMap((it, i) => changeText(it, live?.[i]))),
    ...settings.map(({ setting, before, after }) => `Changed ${setting}: ${before} before, ${after} after.`),
  ];
}

function changeText(
  { family, before, after, because, to, from, by }: VerdictChange,
  live: number | undefined,
): string[] {
  const name = FAMILY_NAMES[family];
  const interfaces = by.map(formatInterfaceSet);
  const parts = [
    {
      part: "to" as const,
      label: "to",
      ...shorter(simplified(family, to), simplified(family, complement(family, to))),
    },
    { part: "from" as const, label: "from", ...shorter(from, complement(family, from)) },
    { part: "by" as const, label: "by", except: false, list: interfaces.join() === "*" ? [] : interfaces },
  ];
  return [
    `${name} connections that were ${PARTICIPLES[before]} and will be ${PARTICIPLES[after]}:`,
    ...(live === undefined ? [] : [`  live  ${live} connections of this node`]),
    ...parts.flatMap(({ part, label, except, list }) => {
      if (list.length === 0) return part === "to" ? ["  to    any address"] : [];
      const lead = `  ${label.padEnd(6)}${except ? "all except " : ""}`;
      if (part !== because) return [`${lead}${inline(list)}`];
      return list.map((entry, i) => `${i === 0 ? lead : " ".repeat(lead.length)}${entry}`);
    }),
  ];
}

const PARTICIPLES: Readonly<Record<Verdict, string>> = { keep: "kept", masquerade: "masqueraded" };

/** Describes addresses by the shorter list: included or excluded CIDRs. */
function shorter(
  cidrs: readonly string[],
  others: readonly string[],
): { except: boolean; list: readonly string[] } {
  return others.length < cidrs.length || others.length === 0
    ? { except: true, list: others }
    : { except: false, list: cidrs };
}

function inline(list: readonly string[]): string {
  const more = list.length - MOST_ON_A_LINE;
  return more > 1 ? `${list.slice(0, MOST_ON_A_LINE).join(", ")} and ${more} more` : list.join(", ");
}
