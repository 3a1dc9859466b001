import { type Allowance, withoutAllowed } from "./allowance.ts";
import type { Config } from "./config.ts";
import { familyWarnings } from "./family-warnings.ts";
import type { LoadOptions } from "./parse.ts";
import type { Problem } from "./problem.ts";
import { readSources, type Sources } from "./sources.ts";

/** A config that was read, or why it cannot be used. */
export type Loaded = {
  /** The files that were read. None means the defaults. */
  readonly files: readonly string[];
  /** Warnings that are not accepted, and errors unless it is `ok`. */
  readonly problems: readonly Problem[];
  /** What the files accept. */
  readonly allowances: readonly Allowance[];
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
  if (files.length === 0 && problems.length === 0) {
    const warnings = familyWarnings(sources.path, {}, options.enableIPv6 ?? false);
    return { ok: true, config: {}, files: paths, problems: warnings, allowances: [] };
  }
  // The defaults need no parser; to load it takes longer than anything else at start.
  const { parseFiles } = await import("./parse.ts");
  const { config, allowances, ...parsed } = await parseFiles(files, options);
  const all = [...problems, ...parsed.problems];
  const ok = all.every(({ severity }) => severity !== "error");
  const enableIPv6 = options.enableIPv6 ?? config.enableIPv6?.value ?? false;
  if (ok) all.push(...familyWarnings(sources.path, config, enableIPv6));
  const told = withoutAllowed(all, allowances);
  return { files: paths, problems: told, allowances, ...(ok ? { ok, config } : { ok }) };
}

function absence({ missing, path }: Sources, { missing: severity }: LoadOptions): Problem[] {
  if (!missing || !severity) return [];
  const about = { at: { file: path }, remedy: "correct the path, or create the file" };
  return severity === "error"
    ? [{ severity, ...about, what: "does not exist" }]
    : [{ severity, name: "path-missing", ...about, what: "does not exist, so the defaults apply" }];
}
