import { isatty } from "node:tty";

/** Whether what goes to standard output is for a person's eyes, who did not ask for it plain: https://no-color.org. */
export function isColourful(): boolean {
  return isatty(1) && !process.env.NO_COLOR && process.env.TERM !== "dumb";
}

/** A unified diff in the colours that git gives it. */
export function colouredDiff(diff: string): string {
  return diff
    .split("\n")
    .map(line => {
      const colour = COLOURS.find(([begin]) => line.startsWith(begin))?.[1];
      return colour === undefined ? line : `\x1b[${colour}m${line}\x1b[0m`;
    })
    .join("\n");
}

/** By how a line begins, the first that fits; SGR codes of ECMA-48. */
const COLOURS: readonly (readonly [string, string])[] = [
  ["---", "1"],
  ["+++", "1"],
  ["@@", "36"],
  ["-", "31"],
  ["+", "32"],
];
