import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";

/** Texts with more than this many changed lines are not compared line by line, because that would take seconds. */
const MOST_EDITS = 2000;

/** Returns a unified diff of two texts, given as lines; empty if they are the same. */
export function unified(
  [oldName, newName]: readonly [string, string],
  before: readonly string[],
  after: readonly string[],
): string {
  if (Bun.deepEquals(before, after)) return "";
  const text = (lines: readonly string[]) => lines.map(line => `${line}\n`).join("");
  const options = { context: 3, maxEditLength: MOST_EDITS, headerOptions: FILE_HEADERS_ONLY };
  const patch = createTwoFilesPatch(
    oldName,
    newName,
    text(before),
    text(after),
    undefined,
    undefined,
    options,
  );
  return patch ?? replaced(oldName, newName, before, after);
}

/** Returns a diff that replaces the whole text. */
function replaced(
  oldName: string,
  newName: string,
  before: readonly string[],
  after: readonly string[],
): string {
  const lines = [
    `--- ${oldName}`,
    `+++ ${newName}`,
    `@@ -1,${before.length} +1,${after.length} @@`,
    ...before.map(line => `-${line}`),
    ...after.map(line => `+${line}`),
  ];
  return `${lines.join("\n")}\n`;
}
