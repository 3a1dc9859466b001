import type { Headline } from "../inspect/headline.ts";
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

/** A status with the answers of its headline in the colour of its level. */
export function colouredStatus(text: string, level: Headline["level"]): string {
  const colour = LEVELS[level];
  return text
    .replace(/^(in force +)(yes|NO)/, `$1\x1b[1;${colour}m$2\x1b[0m`)
    .replace(/^(overruled +)((?:perhaps )?by)(?= )/m, `$1\x1b[1;${LEVELS.warn}m$2\x1b[0m`);
}

/** SGR codes of ECMA-48. */
const LEVELS: Readonly<Record<Headline["level"], string>> = { good: "32", warn: "33", bad: "31" };

/** The start of a line and its colour, an SGR code of ECMA-48; the first match applies. */
const COLOURS: readonly (readonly [string, string])[] = [
  ["---", "1"],
  ["+++", "1"],
  ["@@", "36"],
  ["-", "31"],
  ["+", "32"],
];
