import { type Conflict, harmfulOf, ownerText } from "../conflicts/conflict.ts";
import type { Status } from "./status.ts";

/** Three answers: whether the policy is in force, which programs overrule it, and its problems. */
export interface Headline {
  /** `bad`: not in force; `warn`: in force, but something decides or changes beside the policy. */
  readonly level: "good" | "warn" | "bad";
  readonly inForce: string;
  readonly overruled: string;
  readonly problems: string;
}

/** Whether foreign rules overrule a policy that is in force. */
export function isOverruled({ inSync, conflicts }: Pick<Status, "inSync" | "conflicts">): boolean {
  return inSync && harmfulOf(conflicts).length > 0;
}

/** The headline of `status` and of the status page. */
export function headlineOf(status: Omit<Status, "cidrs">): Headline {
  const { inSync, from, contested, configRejected, fallback } = status;
  const isDoubtful = contested || configRejected || fallback || from === "kernel" || isOverruled(status);
  return {
    level: !inSync ? "bad" : isDoubtful ? "warn" : "good",
    inForce: inForceText(status),
    overruled: overruledText(status),
    problems: problemsText(status),
  };
}

function inForceText({ inSync, since, why, from, contested }: Omit<Status, "cidrs">): string {
  const moment = since === undefined ? "" : `, since ${since.slice(0, 19).replace("T", " ")} UTC`;
  if (!inSync) return `NO${moment}${why === undefined ? "" : `: ${why}`}`;
  if (from === "kernel") return "yes, but no agent answers";
  return `yes${moment}${contested ? ", but contested: another program keeps changing the rules" : ""}`;
}

function overruledText({ conflicts, unread = [] }: Omit<Status, "cidrs">): string {
  const harmful = harmfulOf(conflicts);
  const owners = Map.groupBy(harmful, it => `${it.certain ? "by" : "perhaps by"} ${ownerText(it)}`);
  const texts = owners.entries().map(([by, rules]) => `${by} for ${destinations(rules)}`);
  if (harmful.length > 0) return [...texts].join("; ");
  return unread.length > 0 ? "not known: some foreign rules cannot be read" : "no";
}

function destinations(rules: readonly Conflict[]): string {
  const all = [...new Set(rules.flatMap(({ exposes, exempts = [] }) => [...exposes, ...exempts]))];
  const more = all.length > MOST_DESTINATIONS ? ` and ${all.length - MOST_DESTINATIONS} more` : "";
  return all.slice(0, MOST_DESTINATIONS).join(" ") + more;
}

/** Destinations that the headline names for each program. */
const MOST_DESTINATIONS = 3;

function problemsText({ problems, configRejected }: Omit<Status, "cidrs">): string {
  const [first] = problems;
  if (configRejected) return "the config is rejected; the last good policy stays active";
  if (first === undefined) return "none";
  return problems.length === 1 ? first : `${problems.length}; the first is: ${first}`;
}
