/**
 * Characters that a terminal interprets or does not show: control characters, invisible characters, changes of the
 * writing direction, non-ASCII blanks, and unpaired surrogates.
 */
const UNPRINTABLE = /(?! )[\p{Cc}\p{Cf}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/** The text on one line, with unprintable characters escaped, such as `\n` and `\u{1b}`. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, character => {
    const code = character.codePointAt(0) ?? 0;
    const short = { 9: "\\t", 10: "\\n", 13: "\\r" }[code];
    return short ?? `\\u{${code.toString(16)}}`;
  });
}

/** Escapes a text of several lines in the same way, but keeps line feeds and tabs. */
export function printableLines(text: string): string {
  return text.replace(UNPRINTABLE, character =>
    character === "\n" || character === "\t" ? character : printable(character),
  );
}

/** JSON with the same meaning, with unprintable characters escaped as in JSON strings. */
export function printableJson(json: string): string {
  return json.replace(UNPRINTABLE, character =>
    character === "\n"
      ? character
      : Array.from(
          { length: character.length },
          (_, i) => `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`,
        ).join(""),
  );
}
