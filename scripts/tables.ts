/** Tables in the docs that are generated from records in the code. */
import { KEY_NAMES, KEYS } from "../src/config/keys.ts";
import { WARNINGS } from "../src/config/problem.ts";
import { OWNERS } from "../src/conflicts/owners.ts";

/** The tables by page: the columns, which identify the table, and the rows. */
const TABLES: Readonly<Record<string, { readonly columns: string; readonly rows: readonly string[] }>> = {
  "README.md": {
    columns: "| key | default | meaning |",
    rows: KEY_NAMES.map(name => `| \`${name}\` | ${KEYS[name].default} | ${KEYS[name].description} |`),
  },
  "docs/check.md": {
    columns: "| name | meaning | about |",
    rows: Object.entries(WARNINGS).map(([name, { means, about }]) => `| \`${name}\` | ${means} | ${about} |`),
  },
  "docs/troubleshooting.md": {
    columns: "| program | its rules | what to do |",
    rows: OWNERS.map(({ owner, means, remedy }) => `| ${owner} | ${means} | ${remedy} |`),
  },
};

export const PAGES_WITH_TABLES: readonly string[] = Object.keys(TABLES);

/** Replaces the generated table in the text of a page. Throws Error if the text does not have it. */
export function withTable(page: string, text: string): string {
  const { columns = "", rows = [] } = TABLES[page] ?? {};
  const start = text.indexOf(`${columns}\n`);
  const end = text.indexOf("\n\n", start);
  if (columns === "" || start < 0 || end < 0) throw new Error(`${page} does not have its generated table`);
  const separator = columns.replace(/[^|]+/g, "---");
  return `${text.slice(0, start)}${[columns, separator, ...rows].join("\n")}${text.slice(end)}`;
}
