import { isTerminal } from "../system/output.ts";

/** Whether standard output is a terminal with colours, which NO_COLOR does not disable (https://no-color.org). */
export async function isColourful(): Promise<boolean> {
  return (await isTerminal()) && !process.env.NO_COLOR && process.env.TERM !== "dumb";
}

/** A unified diff in git's colours. */
export function colouredDiff(diff: string): string {
  return diff
    .split("\n")
    .map(line => {
      const colour = COLOURS.find(([begin]) => line.startsWith(begin))?.[1];
      return colour === undefined ? line : `\x1b[${colour}m${line}\x1b[0m`;
    })
    .join("\n");
}

/** The start of a line and its colour, an SGR code of ECMA-48; the first match applies. */
const COLOURS: readonly (readonly [string, string])[] = [
  ["---", "1"],
  ["+++", "1"],
  ["@@", "36"],
  ["-", "31"],
  ["+", "32"],
];
