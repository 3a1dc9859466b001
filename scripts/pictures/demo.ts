/** `npm run pictures`: runs the demo and draws its output as docs/demo.svg. */
import { join } from "node:path";
import { output } from "../../lab/output.ts";
import { terminal } from "./terminal.ts";

const ROOT = join(import.meta.dir, "../..");
/** Lines of the demo that the picture shows; it marks the others by an ellipsis. */
const SHOWN = [
  /^ipmasq /,
  /^=== (?!The counters)/,
  /^# nft flush/,
  /^ *(?:- )?(?:\w*asqueradeCIDRs:|10\.0\.0\.0\/8|203\.0\.113\.0\/24|10\.20\.0\.0\/16)$/,
  /^(?:in force|repaired) after/,
  /drift repaired/,
  /^ {2}tcp .*(?:10\.20\.30\.40|203\.0\.113\.7):443/,
  /^The demo took/,
];
/** Longer lines are cut. */
const COLUMNS = 100;
const [GREEN, AMBER, BLUE, DIM] = ["#7ee787", "#e3b341", "#79c0ff", "#8b949e"];

const printed = await output([
  join(ROOT, "lab/isolate"),
  process.execPath,
  join(ROOT, "scripts/demo/demo.ts"),
]);
const lines = ["$ npm start", ...excerpt(printed.split("\n"))];
await Bun.write(
  join(ROOT, "docs/demo.svg"),
  terminal("npm start", lines, [
    [/^[$#] .*/, BLUE],
    [/^===.*/, "#ffffff"],
    [/…$/, DIM],
    [/the Pod's address$/, GREEN],
    [/the node's address$/, AMBER],
    [/after \d+ ms|drift repaired/, GREEN],
  ]),
);

/** Left-out lines in the middle of a chapter are an ellipsis. */
function excerpt(all: readonly string[]): string[] {
  const lines: string[] = [];
  let skipped = false;
  for (const line of all.filter(Boolean)) {
    if (!SHOWN.some(it => it.test(line))) {
      skipped = true;
      continue;
    }
    if (line.startsWith("===")) lines.push("");
    else if (skipped) lines.push("  …");
    lines.push(line.length > COLUMNS ? `${line.slice(0, COLUMNS - 1)}…` : line);
    skipped = false;
  }
  return lines;
}
