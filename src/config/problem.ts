import { quote } from "../net/parse-failure.ts";
import { closestMatch } from "../system/closest-match.ts";
import { withRemedy } from "../system/errors.ts";
import { printable } from "../system/printable.ts";

/** A place in a file. Lines and columns start at 1. */
export interface Position {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
}

/** A problem of the config: its cause, its place, and the remedy. */
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
  /** Path of the key, such as `nonMasqueradeCIDRs[1]`. */
  readonly key?: string;
  readonly what: string;
  readonly remedy: string;
}

/**
 * All warnings by name. Names are stable: users write them in `# ipmasq: allow NAME` comments and in `check
 * --allow=NAME`. A comment applies to its own line and the next one, or to the whole file if the warning is about it.
 */
export const WARNINGS = {
  "path-missing": { about: "file", means: "the given path does not exist" },
  "file-not-read": {
    about: "file",
    means: "a file in the directory, or a key of the ConfigMap, is not read",
  },
  "unknown-key": { about: "line", means: "an unknown key, which has no effect" },
  "key-capitals": { about: "line", means: "a key with unusual capitalization" },
  "interval-raised": { about: "line", means: "a resyncInterval under 1s, which counts as 1s" },
  "frequent-resync": { about: "line", means: "a resyncInterval so short that it wastes CPU" },
  "everything-kept": { about: "file", means: "the list contains all addresses of a family" },
  "everything-masqueraded": { about: "line", means: "the list has no value, so everything is masqueraded" },
  "no-private-range": { about: "file", means: "the list contains no address range that Pods use" },
  "ipv4-masqueraded": {
    about: "file",
    means: "the list has no IPv4 CIDR, so Pod-to-Pod IPv4 is masqueraded",
  },
  "ipv6-masqueraded": {
    about: "file",
    means: "the list has no IPv6 CIDR, so Pod-to-Pod IPv6 is masqueraded",
  },
  "ipv4-sources-missing": {
    about: "file",
    means: "sourceCIDRs has no IPv4 CIDR, so no IPv4 connection is masqueraded",
  },
  "ipv6-sources-missing": {
    about: "file",
    means: "sourceCIDRs has no IPv6 CIDR, so no IPv6 connection is masqueraded",
  },
  "ipv4-sources-masqueraded": {
    about: "file",
    means: "nonMasqueradeSourceCIDRs has no IPv4 CIDR, so IPv4 connections of these hosts are masqueraded",
  },
  "ipv6-sources-masqueraded": {
    about: "file",
    means: "nonMasqueradeSourceCIDRs has no IPv6 CIDR, so IPv6 connections of these hosts are masqueraded",
  },
  "redundant-link-local": {
    about: "line",
    means: "a link-local entry without effect, since link-local is not masqueraded anyway",
  },
  "exception-without-effect": {
    about: "line",
    means: "an entry of masqueradeCIDRs outside all non-masquerade CIDRs",
  },
  "mark-without-effect": {
    about: "line",
    means:
      "foreignMasqueradeMarks that nothing uses, or a non-masquerade mark that other programs masquerade",
  },
  "yaml-warning": { about: "line", means: "a warning of the YAML parser" },
  "unknown-allowance": { about: "line", means: "a comment or flag accepts a warning that does not exist" },
} as const satisfies Readonly<Record<string, { readonly about: "file" | "line"; readonly means: string }>>;

export type WarningName = keyof typeof WARNINGS;

function isWarningName(name: string): name is WarningName {
  return Object.hasOwn(WARNINGS, name);
}

/** The acceptance of a warning. */
export interface Allowance {
  readonly name: WarningName;
  /** Place of the comment; undefined for a flag, which applies everywhere. */
  readonly at?: { readonly file: string; readonly line: number };
}

/** Allowances, and warnings about names that do not exist. */
interface Allowances {
  readonly allowances: Allowance[];
  readonly problems: ConfigWarning[];
}

/**
 * Reads the comments `# ipmasq: allow NAME, NAME` of a text.
 *
 * @param at the place of an offset in `content`
 */
export function allowancesIn(content: string, at: (offset: number) => Required<Position>): Allowances {
  const allowances: Allowance[] = [];
  const problems: ConfigWarning[] = [];
  if (!content.includes("ipmasq: allow")) return { allowances, problems };
  for (const { index, 0: comment, 1: names = "" } of content.matchAll(ALLOW)) {
    const found = namesIn(names, at(index + comment.length - names.length));
    allowances.push(...found.allowances);
    problems.push(...found.problems);
    if (allowances.length + problems.length > MOST_ALLOWANCES) break;
  }
  return { allowances, problems };
}

const ALLOW = /(?<![^\s])# ?ipmasq: allow[ \t]+([\w-]{1,40}(?:[ \t,]{1,10}[\w-]{1,40}){0,30})/g;
const MOST_ALLOWANCES = 1000;

/**
 * Reads names of warnings, separated by commas or spaces.
 *
 * @param at the place of the names; without a line, they apply everywhere
 */
export function namesIn(names: string, at: Position): Allowances {
  const words = names.split(/[\s,]+/).filter(Boolean);
  const place = at.line === undefined ? {} : { at: { file: at.file, line: at.line } };
  return {
    allowances: words.filter(isWarningName).map(name => ({ name, ...place })),
    problems: words.filter(name => !isWarningName(name)).map(name => unknownName(name, at)),
  };
}

function unknownName(name: string, at: Position): ConfigWarning {
  const meant = closestMatch(name, Object.keys(WARNINGS));
  return {
    severity: "warning",
    name: "unknown-allowance",
    at,
    what: `${quote(name)} is not a warning name`,
    remedy: meant ? `did you mean ${quote(meant)}?` : "copy the name in brackets at the end of the warning",
  };
}

/** The problems without the accepted warnings. */
export function withoutAllowed<P extends Problem>(
  problems: readonly P[],
  allowances: readonly Allowance[],
): P[] {
  return problems.filter(problem => {
    if (problem.severity === "error") return true;
    const { name, at } = problem;
    return !allowances.some(it => it.name === name && applies(it, WARNINGS[name].about, at));
  });
}

function applies({ at: comment }: Allowance, about: "file" | "line", at: Position): boolean {
  if (!comment || about === "file") return true;
  return comment.file === at.file && (comment.line === at.line || comment.line + 1 === at.line);
}

/**
 * At most 50 lines of text, errors before warnings, then in the order of the files.
 *
 * @param labelled whether warnings begin with a label; log lines show their level instead
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

const MOST_PRINTED = 50;

/** `file:line:column: key: what; remedy` with control characters escaped. A warning ends with its name. */
function formatProblem(problem: Problem, labelled: boolean): string {
  const { at, key } = problem;
  const place = [at.file, at.line, at.column].filter(part => part !== undefined).join(":");
  const label = labelled && problem.severity === "warning" ? ["warning"] : [];
  const path = key === undefined ? [] : [key];
  const name = problem.severity === "warning" ? ` [${problem.name}]` : "";
  return printable(`${[place, ...label, ...path, withRemedy(problem)].join(": ")}${name}`);
}

function comparePlaces(a: Problem, b: Problem): number {
  if (a.severity !== b.severity) return a.severity === "error" ? -1 : 1;
  if (a.at.file !== b.at.file) return a.at.file < b.at.file ? -1 : 1;
  return (a.at.line ?? 0) - (b.at.line ?? 0) || (a.at.column ?? 0) - (b.at.column ?? 0);
}
