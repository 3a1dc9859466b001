import type { Config } from "./config.ts";
import type { LoadOptions } from "./parse.ts";
import type { Problem } from "./problem.ts";
import { readSources, type Sources } from "./sources.ts";

/** A config that was read, or why it cannot be used. */
export type Loaded = {
  /** The files that were read. None means the defaults. */
  readonly files: readonly string[];
  /** Warnings, and errors unless it is `ok`. */
  readonly problems: readonly Problem[];
} & ({ readonly ok: true; readonly config: Config } | { readonly ok: false });

/** Reads and checks the config at a path. Throws nothing: everything that is wrong is a problem. */
export async function loadConfig(path: string, options: LoadOptions): Promise<Loaded> {
  return parseConfig(await readSources(path), options);
}

/** Checks and merges what {@link readSources} read. */
export async function parseConfig(sources: Sources, options: LoadOptions): Promise<Loaded> {
  const { files } = sources;
  const paths = files.map(({ path }) => path);
  const problems = [...sources.problems, ...absence(sources, options)];
  if (files.length === 0 && problems.length === 0) return { ok: true, config: {}, files: paths, problems };
  // The defaults need no parser; to load it takes longer than anything else at start.
  const { parseFiles } = await import("./parse.ts");
  const parsed = await parseFiles(files, options);
  const all = [...problems, ...parsed.problems];
  const ok = all.every(({ severity }) => severity !== "error");
  return { files: paths, problems: all, ...(ok ? { ok, config: parsed.config } : { ok }) };
}

function absence({ missing, path }: Sources, { missing: severity }: LoadOptions): Problem[] {
  if (!missing || !severity) return [];
  const what = severity === "error" ? "does not exist" : "does not exist, so the defaults apply";
  return [{ severity, at: { file: path }, what, remedy: "correct the path, or create the file" }];
}
