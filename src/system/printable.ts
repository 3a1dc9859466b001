/**
 * Control characters, characters that are invisible or change the direction of writing, blanks outside of ASCII, and
 * halves of surrogate pairs: characters that a terminal obeys or does not show.
 */
const UNPRINTABLE = /(?! )[\p{Cc}\p{Cf}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu;

/** A text on one line that a terminal only shows, with unprintable characters escaped, as in `\n` and `\u{1b}`. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, character => {
    const code = character.codePointAt(0) ?? 0;
    const short = { 9: "\\t", 10: "\\n", 13: "\\r" }[code];
    return short ?? `\\u{${code.toString(16)}}`;
  });
}

/** The same for several lines: line feeds and tabs stay. */
export function printableLines(text: string): string {
  return text.replace(UNPRINTABLE, character =>
    character === "\n" || character === "\t" ? character : printable(character),
  );
}

/** JSON text that a terminal only shows. It means the same: the escapes are those of JSON strings. */
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
