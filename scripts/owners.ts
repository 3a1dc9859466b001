/** The table of programs that write NAT rules in docs/troubleshooting.md, from the records of the owners. */
import { OWNERS } from "../src/conflicts/owners.ts";

const HEAD = "| program | its rules | what to do |\n|---|---|---|\n";

/** Replaces the table in the text of the page. Throws Error if the text has no such table. */
export function withOwnerTable(page: string): string {
  const start = page.indexOf(HEAD);
  const end = page.indexOf("\n\n", start);
  if (start < 0 || end < 0) throw new Error("docs/troubleshooting.md has no table of programs");
  const rows = OWNERS.map(({ owner, means, remedy }) => `| ${owner} | ${means} | ${remedy} |`);
  return `${page.slice(0, start)}${HEAD}${rows.join("\n")}${page.slice(end)}`;
}
