import { withRemedy } from "../system/errors.ts";
import { printable } from "../system/printable.ts";
import type { WarningName } from "./warnings.ts";

/** Where something stands. Lines and columns begin with 1. */
export interface Position {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
}

/** Something that the user should know about the config: what is wrong, where, and what to do. */
export type Problem = ConfigError | ConfigWarning;

export interface ConfigError extends About {
  readonly severity: "error";
}

export interface ConfigWarning extends About {
  readonly severity: "warning";
  readonly name: WarningName;
}

interface About {
  readonly at: Position;
  /** The key's path, as in `nonMasqueradeCIDRs[1]`. */
  readonly key?: string;
  readonly what: string;
  readonly remedy: string;
}

/** One line, `file:line:column: key: what; remedy`, with control characters escaped; a warning ends with its name. */
function formatProblem(problem: Problem, labelled: boolean): string {
  const { at, key } = problem;
  const place = [at.file, at.line, at.column].filter(part => part !== undefined).join(":");
  const label = labelled && problem.severity === "warning" ? ["warning"] : [];
  const path = key === undefined ? [] : [key];
  const name = problem.severity === "warning" ? ` [${problem.name}]` : "";
  return printable(`${[place, ...label, ...path, withRemedy(problem)].join(": ")}${name}`);
}

/**
 * One line per problem, errors before warnings, in the order of the files; at most 50.
 *
 * @param labelled whether a warning says that it is one; a log line shows its level anyway
 */
export function formatProblems(problems: readonly Problem[], labelled = true): string[] {
  const lines = problems
    .toSorted(comparePlaces)
    .slice(0, MOST_PRINTED)
    .map(it => formatProblem(it, labelled));
  const more = problems.length - lines.length;
  if (more > 0) lines.push(`and ${more} more ${more === 1 ? "problem" : "problems"}`);
  return lines;
}

/** A text of the user's as problems quote it: in quotes, and no longer than 60 characters. */
export function quote(text: string): string {
  const characters = Array.from(text.slice(0, 2 * LONGEST_QUOTED));
  if (text.length <= LONGEST_QUOTED) return `"${text}"`;
  return `"${characters.slice(0, LONGEST_QUOTED - 1).join("")}…"`;
}

const MOST_PRINTED = 50;
const LONGEST_QUOTED = 60;

function comparePlaces(a: Problem, b: Problem): number {
  if (a.severity !== b.severity) return a.severity === "error" ? -1 : 1;
  if (a.at.file !== b.at.file) return a.at.file < b.at.file ? -1 : 1;
  return (a.at.line ?? 0) - (b.at.line ?? 0) || (a.at.column ?? 0) - (b.at.column ?? 0);
}
