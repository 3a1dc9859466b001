import type { ConfigError } from "./problem.ts";
import type { Text } from "./text.ts";

/**
 * The error for a line of YAML that is indented like no block that is open there, which the parser reports as several
 * errors of its grammar; undefined if the first such line is not the one that the parser refused. Knows block lists and
 * mappings only.
 *
 * @param refused the line of the parser's first error, from 1
 */
export function indentationProblem(text: Text, refused: number): ConfigError | undefined {
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
        return line === refused ? problemAt(text, offset + indent, indent) : undefined;
      }
      if (open.at(-1) !== indent) open.push(indent);
      if (dashes !== "") open.push(indent + dashes.length);
    }
    if (line > refused) return undefined;
    offset += content.length + 1;
  }
  return undefined;
}

function problemAt(text: Text, offset: number, indent: number): ConfigError {
  const blanks = indent === 1 ? "1 blank" : `${indent} blanks`;
  return {
    severity: "error",
    at: text.at(offset),
    what: `this line is indented by ${blanks}, which fits no line above`,
    remedy: "indent all entries of a list, and all keys, alike",
  };
}
