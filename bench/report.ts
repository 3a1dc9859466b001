import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Result } from "./result.ts";

const RESULTS = join(import.meta.dir, "results");

/** Writes bench/README.md from the results that are kept. */
export async function report(): Promise<void> {
  const files = (await readdir(RESULTS)).filter(name => name.endsWith(".json")).toSorted();
  const results: Result[] = await Promise.all(files.map(file => Bun.file(join(RESULTS, file)).json()));
  await Bun.write(join(import.meta.dir, "README.md"), [HEAD, ...results.map(it => section(it))].join("\n"));
}

const HEAD = `# Measured

    npm run bench              # all of it
    npm run bench -- reaction  # one case

Made by \`npm run bench\`; the single numbers are in \`results\`. Machines are shared and
noisy: compare what one run measured, not figures of different machines.
`;

/** A result for people; `heading` is the mark of its level. */
export function section(result: Result, heading = "##"): string {
  const { title, how, columns, rows, command, date, machine, versions } = result;
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${heading} ${title}

${how}

${[columns, columns.map(() => "---"), ...rows].map(line).join("\n")}

\`${command}\`, ${date}; ${machine}; ${programs.join(", ")}.
`;
}
