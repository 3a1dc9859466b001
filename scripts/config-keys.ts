/** The README's table of config keys, from the records of the keys. */
import { KEY_NAMES, KEYS } from "../src/config/keys.ts";

const HEAD = "| key | default | meaning |\n|---|---|---|\n";

/** Replaces the table in the text of the README. Throws Error if the text has no such table. */
export function withKeyTable(readme: string): string {
  const start = readme.indexOf(HEAD);
  const end = readme.indexOf("\n\n", start);
  if (start < 0 || end < 0) throw new Error("README.md has no table of config keys");
  const rows = KEY_NAMES.map(name => `| \`${name}\` | ${KEYS[name].default} | ${KEYS[name].description} |`);
  return `${readme.slice(0, start)}${HEAD}${rows.join("\n")}${readme.slice(end)}`;
}
