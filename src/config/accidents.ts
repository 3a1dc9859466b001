import type { ErrorCode } from "yaml";
import type { ConfigError, Problem } from "./problem.ts";
import type { Text } from "./text.ts";

// Common accidents, reported by their cause. The parser would report only symptoms.

/**
 * The cause of the parser's errors, to report instead of them.
 *
 * @param line the line of the first error
 * @param code the kind of the first error
 */
export function causeOf(text: Text, line = 0, code?: ErrorCode): Problem[] | undefined {
  const template = templateProblem(text);
  if (template) return [template];
  const odd = suspects(text.content);
  if (odd.length > 0) {
    return odd.map(({ offset, what, remedy }) => ({ severity: "error", at: text.at(offset), what, remedy }));
  }
  const tab = /^ *\t[ \t]*[^\s#]/m.exec(text.content);
  if (!tab) {
    // The parser looks for the end of an open quote up to the end of the text.
    const open = code === "MISSING_CHAR" ? quoteProblem(text) : undefined;
    const problem = indentationProblem(text, line) ?? open;
    return problem && [problem];
  }
  const at = text.at(tab.index + tab[0].indexOf("\t"));
  return [{ severity: "error", at, what: "a tab in the indentation", remedy: "indent with spaces" }];
}

/** The error for an unrendered template: `{{` outside of comments. */
export function templateProblem(text: Text): ConfigError | undefined {
  const offset = templateStart(text);
  if (offset === undefined) return undefined;
  return {
    severity: "error",
    at: text.at(offset),
    what: 'an unrendered template (Helm or similar): "{{"',
    remedy: 'render it first, for example with "helm template"',
  };
}

function templateStart({ content }: Text): number | undefined {
  for (let at = content.indexOf("{{"); at >= 0; ) {
    if (!hasComment(content.slice(content.lastIndexOf("\n", at) + 1, at))) return at;
    const end = content.indexOf("\n", at);
    if (end < 0) return undefined;
    at = content.indexOf("{{", end);
  }
  return undefined;
}

/** Whether a comment starts in this beginning of a line. */
function hasComment(start: string): boolean {
  return /(^|\s)#/.test(start);
}

/**
 * Characters that are invisible, look like a space, or resemble a character with a meaning in YAML. A config does not
 * need them, and the parser's messages about them do not help.
 */
const SUSPICIOUS =
  /(?! )[\p{Z}\p{Cf}\p{Default_Ignorable_Code_Point}\u0085\u2800]|[“”„‟″«»‘’‚‛′‐‑‒–—−﹣－：，]/u;

/** A suspicious character. */
export interface Suspect {
  readonly offset: number;
  readonly what: string;
  readonly remedy: string;
}

/** The first suspicious character of each line, outside of comments; at most 50. */
export function suspects(content: string): Suspect[] {
  const found: Suspect[] = [];
  const suspicious = new RegExp(SUSPICIOUS, "gu");
  let start = 0;
  for (let match = suspicious.exec(content); match; match = suspicious.exec(content)) {
    const { index, 0: character } = match;
    start = Math.max(start, content.lastIndexOf("\n", index) + 1);
    if (!hasComment(content.slice(start, index))) found.push({ offset: index, ...described(character) });
    const end = content.indexOf("\n", index);
    if (end < 0 || found.length === MOST_SUSPECTS) break;
    suspicious.lastIndex = end;
  }
  return found;
}

const MOST_SUSPECTS = 50;

/** A text without suspicious characters. */
export function withoutSuspects(text: string): string {
  return text.replace(new RegExp(SUSPICIOUS, "gu"), "");
}

function described(character: string): Pick<Suspect, "what" | "remedy"> {
  const code = `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
  if (/\p{Z}/u.test(character)) {
    const what = `${NAMES[character] ?? "an unusual space"} (${code}) instead of a space`;
    return { what, remedy: "replace it with a space" };
  }
  const instead = REPLACEMENTS.find(([pattern]) => pattern.test(character))?.[1];
  if (instead) return { what: `the character ${character} (${code})`, remedy: `replace it with ${instead}` };
  return { what: `${NAMES[character] ?? "an invisible character"} (${code})`, remedy: "remove it" };
}

const NAMES: Readonly<Record<string, string>> = {
  "\u00a0": "a no-break space",
  "\u00ad": "a soft hyphen",
  "\u200b": "a zero-width space",
  "\u200c": "a zero-width non-joiner",
  "\u200d": "a zero-width joiner",
  "\u202f": "a narrow no-break space",
  "\u2060": "a word joiner",
  "\u3000": "an ideographic space",
  "\ufeff": "a byte order mark",
};

const REPLACEMENTS: readonly (readonly [RegExp, string])[] = [
  [/[“”„‟″«»]/, "a straight double quote"],
  [/[‘’‚‛′]/, "a straight single quote"],
  [/：/, "a colon"],
  [/，/, "a comma"],
  [/[‐‑‒–—−﹣－]/, "a hyphen"],
];

/**
 * The error for a line whose indentation matches no open block; undefined if another line is wrong first. Checks only
 * block lists and mappings.
 *
 * @param refused number of the line with the parser's first error, from 1
 */
function indentationProblem(text: Text, refused: number): ConfigError | undefined {
  const open: number[] = [];
  let line = 0;
  let offset = 0;
  for (const content of text.content.split("\n")) {
    line++;
    const [, blanks = "", dashes = "", first = ""] = /^( *)((?:- +)*)(\S?)/.exec(content) ?? [];
    if (first !== "" && first !== "#" && !/^(---|\.\.\.)/.test(content)) {
      const indent = blanks.length;
      const before = open.at(-1) ?? indent;
      while ((open.at(-1) ?? -1) > indent) open.pop();
      if (indent < before && open.at(-1) !== indent) {
        return line === refused ? misfit(text, offset + indent, indent) : undefined;
      }
      if (open.at(-1) !== indent) open.push(indent);
      if (dashes !== "") open.push(indent + dashes.length);
    }
    if (line > refused) return undefined;
    offset += content.length + 1;
  }
  return undefined;
}

function misfit(text: Text, offset: number, indent: number): ConfigError {
  const spaces = indent === 1 ? "1 space" : `${indent} spaces`;
  return {
    severity: "error",
    at: text.at(offset),
    what: `this line is indented by ${spaces}, which matches no line above`,
    remedy: "give all entries of a list, and all keys, the same indentation",
  };
}

/** The error for the first line with a quote that is not closed; undefined if all lines close theirs. */
function quoteProblem(text: Text): ConfigError | undefined {
  let offset = 0;
  for (const line of text.content.split("\n")) {
    const open = openQuote(line);
    if (open !== undefined) {
      const what = `the quote ${line.charAt(open)} is not closed on this line`;
      return { severity: "error", at: text.at(offset + open), what, remedy: "add the closing quote" };
    }
    offset += line.length + 1;
  }
  return undefined;
}

/** The index of the last quote of a line without its pair. An apostrophe in a word is not a quote. */
function openQuote(line: string): number | undefined {
  let open: number | undefined;
  for (const { 0: found, index } of line.matchAll(/\\.|(?<![^\s,:[\]{}])#|"|'/g)) {
    if (found === "#" && open === undefined) return undefined;
    if (found !== '"' && found !== "'") continue;
    if (open === undefined) {
      if (/^$|[\s,:[{-]/.test(line.slice(0, index).slice(-1))) open = index;
    } else if (line.charAt(open) === found) open = undefined;
  }
  return open;
}

/** The error for a well-known file of another kind. Call it only if the text has no known key. */
export function lookalikeProblem(text: Text): ConfigError | undefined {
  const start = text.content.slice(0, SEARCHED);
  const kind = KINDS.find(([, ...marks]) => marks.every(it => it.test(start)))?.[0];
  if (kind === undefined) return undefined;
  return {
    severity: "error",
    at: text.at(0),
    what: `looks like ${kind}, not a config`,
    remedy: 'write its CIDRs as a list, for example "nonMasqueradeCIDRs: [10.0.0.0/8]"',
  };
}

/** All marks are near the beginning. */
const SEARCHED = 64 * 1024;

const KINDS: readonly (readonly [what: string, ...marks: RegExp[]])[] = [
  ["AWS's IP ranges (ip-ranges.json)", key("(ip_prefix|ipv6_prefix)")],
  ["Google's IP ranges (cloud.json, goog.json)", key("(ipv4Prefix|ipv6Prefix)")],
  ["Azure's IP ranges (ServiceTags)", key("addressPrefixes")],
  ["GitHub's IP ranges (api.github.com/meta)", key("hooks"), key("git")],
  ["Cloudflare's IP ranges", key("(ipv4_cidrs|ipv6_cidrs)")],
  ["Fastly's IP ranges", key("addresses"), key("ipv6_addresses")],
  ["Oracle Cloud's IP ranges", key("regions"), key("cidrs")],
  ["a kubeconfig", key("clusters"), key("contexts")],
  ["a CNI plugin's config", key("cniVersion")],
  ["Docker's daemon.json", key("(registry-mirrors|log-driver|default-address-pools|insecure-registries)")],
  ["a kustomization", key("resources"), key("(namespace|images|patches|components)")],
  ["Helm values", key("image"), key("(tolerations|resources|nodeSelector)")],
  ["a Kubernetes manifest", key("apiVersion")],
];

/** A key of YAML or JSON, at the start of a line or after a bracket or comma. */
function key(name: string): RegExp {
  return new RegExp(`(?:^|[{,\\-\\s])["']?${name}["']?[ \\t]*:`, "m");
}
