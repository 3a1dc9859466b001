import { FAMILY_NAMES } from "../net/cidr.ts";
import type { OpenDocument } from "./document.ts";
import type { Config } from "./keys.ts";
import { type Allowance, type ConfigWarning, type Problem, withoutAllowed } from "./problem.ts";
import { readSources, type Source, type Sources } from "./sources.ts";
import { decode, type Text } from "./text.ts";

/** Options for reading a config. */
export interface LoadOptions {
  /** Whether IPv6 is on; undefined if the config decides. */
  readonly enableIPv6?: boolean | undefined;
  /** The ConfigMap to read in a Kubernetes manifest; undefined for the only ConfigMap that fits. */
  readonly configMap?: string | undefined;
  /** Severity of a missing path; undefined if a missing path means the defaults. */
  readonly missing?: Problem["severity"] | undefined;
}

/** A config, or why it cannot be used. */
export type Loaded = {
  /** The files that were read. No files means the defaults. */
  readonly files: readonly string[];
  /** Warnings that are not accepted, and errors unless `ok`. */
  readonly problems: readonly Problem[];
  /** The warnings that the files accept. */
  readonly allowances: readonly Allowance[];
} & ({ readonly ok: true; readonly config: Config } | { readonly ok: false });

/** Reads and checks the config at a path. Never throws: every error is a problem in the result. */
export async function loadConfig(path: string, options: LoadOptions): Promise<Loaded> {
  return parseConfig(await readSources(path), options);
}

/** Checks and merges the files of {@link readSources}. */
export async function parseConfig(sources: Sources, options: LoadOptions): Promise<Loaded> {
  const { files } = sources;
  const paths = files.map(({ path }) => path);
  const problems = [...sources.problems, ...missingPath(sources, options)];
  if (files.length === 0 && problems.length === 0) {
    const warnings = familyWarnings(sources.path, {}, options.enableIPv6 ?? false);
    return { ok: true, config: {}, files: paths, problems: warnings, allowances: [] };
  }
  const { config, allowances, ...parsed } = await parseFiles(files, options);
  const all = [...problems, ...parsed.problems];
  const ok = all.every(({ severity }) => severity !== "error");
  const enableIPv6 = options.enableIPv6 ?? config.enableIPv6?.value ?? false;
  if (ok) all.push(...familyWarnings(sources.path, config, enableIPv6));
  const reported = withoutAllowed(all, allowances);
  return { files: paths, problems: reported, allowances, ...(ok ? { ok, config } : { ok }) };
}

function missingPath({ missing, path }: Sources, { missing: severity }: LoadOptions): Problem[] {
  if (!missing || !severity) return [];
  const about = { at: { file: path }, remedy: "fix the path, or create the file" };
  return severity === "error"
    ? [{ severity, ...about, what: "does not exist" }]
    : [{ severity, name: "path-missing", ...about, what: "does not exist, so the defaults apply" }];
}

/** Opens all files before it reads one: each may enable IPv6, and all together may be too large. */
async function parseFiles(
  files: readonly Source[],
  options: LoadOptions,
): Promise<{ config: Config; problems: readonly Problem[]; allowances: readonly Allowance[] }> {
  // The defaults need no parser, and loading the parser takes longer than anything else at start.
  const { mergeDocuments, sizeError } = await import("./document.ts");
  const open = (await Promise.all(files.map(file => openFile(file, options)))).flat();
  const tooLarge = sizeError(open);
  if (tooLarge) return { config: {}, problems: [tooLarge], allowances: [] };
  const enableIPv6 = options.enableIPv6 ?? open.some(it => it.enableIPv6);
  const documents = open.map(it => it.read(enableIPv6));
  const { config, problems } = mergeDocuments(documents);
  return {
    config,
    problems: [...documents.flatMap(it => it.problems), ...problems],
    allowances: documents.flatMap(it => it.allowances),
  };
}

async function openFile({ path, bytes }: Source, { configMap }: LoadOptions): Promise<OpenDocument[]> {
  const { openConfigDocument } = await import("./document.ts");
  const text = decode(path, bytes);
  if ("what" in text) return [withoutConfig([text])];
  if (configMap === undefined && !mayBeManifest(text)) return [await openConfigDocument(text)];
  const { configInManifest } = await import("./manifest.ts");
  const found = configInManifest(text, configMap);
  if (!found) return [await openConfigDocument(text)];
  const documents = await Promise.all(found.configs.map(openConfigDocument));
  return [withoutConfig(found.problems), ...documents];
}

/** Whether a text may be a Kubernetes manifest, by a key `kind`, which configs do not have. Does not parse. */
function mayBeManifest({ content }: Text): boolean {
  return content.includes("kind") && /(?<![^\n])[^#\n]*?(?<![\w.-])kind["']?[ \t]*:/.test(content);
}

function withoutConfig(problems: readonly Problem[]): OpenDocument {
  const rest = { config: {}, entries: new Map(), nullList: undefined, allowances: [] };
  return { file: "", enableIPv6: false, elements: 0, read: () => ({ ...rest, problems }) };
}

/**
 * Warnings about each enabled family that a list leaves out, probably because only the other family was thought of:
 *
 * - `nonMasqueradeCIDRs` without a CIDR other than link-local: Pod-to-Pod connections are masqueraded. An empty list is
 *   taken as intended.
 * - `sourceCIDRs`: no connection is masqueraded.
 * - `nonMasqueradeSourceCIDRs`: connections from these sources are masqueraded.
 *
 * @param path the path of the config
 */
function familyWarnings(path: string, config: Config, enableIPv6: boolean): ConfigWarning[] {
  const { nonMasqueradeCIDRs: list, sourceCIDRs: sources, nonMasqueradeSourceCIDRs: spared } = config;
  return (enableIPv6 ? [IPV4, IPV6] : [IPV4]).flatMap(({ family, names, example, pods }) => {
    const ip = FAMILY_NAMES[family];
    const lacks = (cidrs: Config["sourceCIDRs"] = []) => cidrs.every(({ value }) => value.family !== family);
    const warning = (key: keyof typeof names, what: string, remedy: string): ConfigWarning[] => [
      {
        severity: "warning",
        name: names[key],
        at: config[key]?.[0]?.at ?? { file: path },
        key,
        what,
        remedy,
      },
    ];
    if (sources?.length && lacks(sources)) {
      const what = `the list has no ${ip}, so no ${ip} connection is masqueraded`;
      return warning("sourceCIDRs", what, `add the ${ip} CIDRs of Pods, for example "${pods}"`);
    }
    const which = list ? "the list" : "the default list";
    const isMasqueraded = list ? list.length > 0 && lacks(list) : family === "ip6";
    return [
      ...(isMasqueraded
        ? warning(
            "nonMasqueradeCIDRs",
            `${which} has no ${ip}, so Pod-to-Pod ${ip} is masqueraded`,
            list
              ? `add the ${ip} CIDRs of Pods, Services and nodes, for example "${example}"`
              : `set nonMasqueradeCIDRs to the default ranges and "${example}"`,
          )
        : []),
      ...(spared?.length && lacks(spared)
        ? warning(
            "nonMasqueradeSourceCIDRs",
            `the list has no ${ip}, so ${ip} connections of the same hosts are masqueraded`,
            `add their ${ip} CIDRs`,
          )
        : []),
    ];
  });
}

const IPV4 = {
  family: "ip",
  names: {
    nonMasqueradeCIDRs: "ipv4-masqueraded",
    sourceCIDRs: "ipv4-sources-missing",
    nonMasqueradeSourceCIDRs: "ipv4-sources-masqueraded",
  },
  example: "10.0.0.0/8",
  pods: "10.244.0.0/16",
} as const;
const IPV6 = {
  family: "ip6",
  names: {
    nonMasqueradeCIDRs: "ipv6-masqueraded",
    sourceCIDRs: "ipv6-sources-missing",
    nonMasqueradeSourceCIDRs: "ipv6-sources-masqueraded",
  },
  example: "fc00::/7",
  pods: "fd00:10:244::/56",
} as const;
