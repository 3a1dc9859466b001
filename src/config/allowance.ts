import { closestMatch } from "../system/closest-match.ts";
import type { ConfigError, ConfigWarning, Problem } from "./problem.ts";
import { quote } from "./problem.ts";
import type { Text } from "./text.ts";
import { isWarningName, WARNINGS, type WarningName } from "./warnings.ts";

/** The acceptance of a warning. */
export interface Allowance {
  readonly name: WarningName;
  /** Where the comment is; undefined for a flag, which accepts the warning everywhere. */
  readonly at?: { readonly file: string; readonly line: number };
}

/** What the comments `# ipmasq: allow NAME, NAME` of a text accept, and warnings of names that do not exist. */
export function allowancesIn(text: Text): { allowances: Allowance[]; problems: ConfigWarning[] } {
  const allowances: Allowance[] = [];
  const problems: ConfigWarning[] = [];
  if (!text.content.includes("ipmasq: allow")) return { allowances, problems };
  for (const { index, 0: comment, 1: names = "" } of text.content.matchAll(ALLOW)) {
    const at = text.at(index + comment.length - names.length);
    const known = namesIn(names, at);
    allowances.push(...known.allowances);
    problems.push(...known.problems);
    if (allowances.length + problems.length > MOST_ALLOWANCES) break;
  }
  return { allowances, problems };
}

/** @param at where the names stand */
export function namesIn(
  names: string,
  at: ConfigWarning["at"],
): { allowances: Allowance[]; problems: ConfigWarning[] } {
  const words = names.split(/[\s,]+/).filter(Boolean);
  const place = at.line === undefined ? {} : { at: { file: at.file, line: at.line } };
  return {
    allowances: words.filter(isWarningName).map(name => ({ name, ...place })),
    problems: words.filter(name => !isWarningName(name)).map(name => unknown(name, at)),
  };
}

/** The problems without the warnings that are accepted. */
export function withoutAllowed<P extends Problem>(
  problems: readonly P[],
  allowances: readonly Allowance[],
): P[] {
  return problems.filter(problem => {
    if (problem.severity === "error") return true;
    const { name, at } = problem;
    return !allowances.some(it => it.name === name && reaches(it, WARNINGS[name].about, at));
  });
}

function reaches({ at: said }: Allowance, about: "file" | "line", at: ConfigError["at"]): boolean {
  if (!said || about === "file") return true;
  return said.file === at.file && (said.line === at.line || said.line + 1 === at.line);
}

function unknown(name: string, at: ConfigWarning["at"]): ConfigWarning {
  const meant = closestMatch(name, Object.keys(WARNINGS));
  return {
    severity: "warning",
    name: "unknown-allowance",
    at,
    what: `${quote(name)} is not the name of a warning`,
    remedy: meant ? `did you mean ${quote(meant)}?` : "copy the name from the end of the warning's line",
  };
}

const ALLOW = /(?<![^\s])# ?ipmasq: allow[ \t]+([\w-]{1,40}(?:[ \t,]{1,10}[\w-]{1,40}){0,30})/g;
const MOST_ALLOWANCES = 1000;
