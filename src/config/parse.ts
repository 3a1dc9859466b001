import type { Allowance } from "./allowance.ts";
import type { Config } from "./config.ts";
import { type ConfigDocument, type OpenDocument, openConfigDocument } from "./document.ts";
import { capError, MOST_ELEMENTS } from "./limits.ts";
import { limitProblems, mergeConfigs } from "./merge.ts";
import type { ConfigError, ConfigWarning, Problem } from "./problem.ts";
import type { Source } from "./sources.ts";
import { decode, type Text } from "./text.ts";

/** How a config is to be read. */
export interface LoadOptions {
  /** Whether IPv6 is on; undefined if the config is to say. */
  readonly enableIPv6?: boolean | undefined;
  /** The ConfigMap to read where a file is a Kubernetes manifest; undefined for the one that fits. */
  readonly configMap?: string | undefined;
  /** The severity of a missing path; undefined if it just means the defaults. */
  readonly missing?: Problem["severity"] | undefined;
}

/** What files mean together. */
export interface ParsedFiles {
  readonly config: Config;
  /** Everything that is wrong with any of them. */
  readonly problems: readonly Problem[];
  readonly allowances: readonly Allowance[];
}

/** Opens all files before it reads any: another file may enable IPv6, and together they may exceed the cap. */
export async function parseFiles(files: readonly Source[], options: LoadOptions): Promise<ParsedFiles> {
  const open = (await Promise.all(files.map(file => openFile(file, options)))).flat();
  const tooMany = capProblem(open);
  if (tooMany) return { config: {}, problems: [tooMany], allowances: [] };
  const enableIPv6 = options.enableIPv6 ?? open.some(it => it.enableIPv6);
  const documents = open.map(it => it.read(enableIPv6));
  const config = mergeConfigs(documents.map(it => it.config));
  return {
    config,
    problems: [
      ...documents.flatMap(it => it.problems),
      ...limitProblems(documents, config),
      ...nullListWarnings(documents, config),
    ],
    allowances: documents.flatMap(it => it.allowances),
  };
}

async function openFile({ path, bytes }: Source, { configMap }: LoadOptions): Promise<OpenDocument[]> {
  const text = decode(path, bytes);
  if ("what" in text) return [withoutConfig([text])];
  if (configMap === undefined && !looksLikeManifest(text)) return [await openConfigDocument(text)];
  const { configInManifest } = await import("./manifest.ts");
  const found = configInManifest(text, configMap);
  if (!found) return [await openConfigDocument(text)];
  const documents = await Promise.all(found.configs.map(openConfigDocument));
  return [withoutConfig(found.problems), ...documents];
}

/** Whether a text may be a Kubernetes manifest: a config has no key `kind`. Takes no parsing. */
function looksLikeManifest({ content }: Text): boolean {
  return /(?<![^\n])[^#\n]*?(?<![\w.-])kind["']?[ \t]*:/.test(content);
}

function withoutConfig(problems: readonly Problem[]): OpenDocument {
  const rest = { config: {}, entries: new Map(), nullList: undefined, allowances: [] };
  return { file: "", enableIPv6: false, elements: 0, read: () => ({ ...rest, problems }) };
}

/** One error if the files exceed the cap. */
function capProblem(open: readonly OpenDocument[]): ConfigError | undefined {
  const elements = open.reduce((sum, it) => sum + it.elements, 0);
  if (elements <= MOST_ELEMENTS) return undefined;
  return capError({ file: open.find(it => it.elements > 0)?.file ?? "" }, `${elements}`);
}

/** A list without a value masquerades everything, like an empty list, which is rarely intended. */
function nullListWarnings(documents: readonly ConfigDocument[], config: Config): ConfigWarning[] {
  if (config.nonMasqueradeCIDRs?.length !== 0) return [];
  return documents.flatMap(({ nullList: at }): ConfigWarning[] => {
    if (!at) return [];
    const what = "a key without a value, so everything but link-local is masqueraded";
    const about = {
      at,
      key: "nonMasqueradeCIDRs",
      what,
      remedy: "list what is not, or write [] if that is meant",
    };
    return [{ severity: "warning", name: "everything-masqueraded", ...about }];
  });
}
