import { isComment } from "./template.ts";

/**
 * Characters that look like a blank, are invisible, or resemble characters with a meaning in YAML. A config has no use
 * for them, and the parser's messages about them do not help.
 */
const SUSPICIOUS =
  /(?! )[\p{Z}\p{Cf}\p{Default_Ignorable_Code_Point}\u0085\u2800]|[“”„‟″«»‘’‚‛′‐‑‒–—−﹣－：，]/u;

/** A suspicious character: its place, what it is, and the remedy. */
export interface Suspect {
  readonly offset: number;
  readonly what: string;
  readonly remedy: string;
}

/** The first such character of each line, outside of comments; at most 50 of them. */
export function suspects(content: string): Suspect[] {
  const found: Suspect[] = [];
  const suspicious = new RegExp(SUSPICIOUS, "gu");
  let start = 0;
  for (let match = suspicious.exec(content); match; match = suspicious.exec(content)) {
    const { index, 0: character } = match;
    start = Math.max(start, content.lastIndexOf("\n", index) + 1);
    if (!isComment(content.slice(start, index))) found.push({ offset: index, ...described(character) });
    const end = content.indexOf("\n", index);
    if (end < 0 || found.length === MOST_SUSPECTS) break;
    suspicious.lastIndex = end;
  }
  return found;
}

const MOST_SUSPECTS = 50;

/** A text without such characters. */
export function withoutSuspects(text: string): string {
  return text.replace(new RegExp(SUSPICIOUS, "gu"), "");
}

function described(character: string): Pick<Suspect, "what" | "remedy"> {
  const code = `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
  if (/\p{Z}/u.test(character)) {
    const what = `${NAMES[character] ?? "another kind of blank"} (${code}) where a blank belongs`;
    return { what, remedy: "replace it by a blank" };
  }
  const instead = PLAIN.find(([pattern]) => pattern.test(character))?.[1];
  if (instead) return { what: `the character ${character} (${code})`, remedy: `replace it by ${instead}` };
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

const PLAIN: readonly (readonly [RegExp, string])[] = [
  [/[“”„‟″«»]/, "a straight double quote"],
  [/[‘’‚‛′]/, "a straight single quote"],
  [/：/, "a colon"],
  [/，/, "a comma"],
  [/[‐‑‒–—−﹣－]/, "a hyphen"],
];
