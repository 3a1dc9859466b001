import type { Config } from "./config.ts";
import { type OpenDocument, openConfigDocument } from "./document.ts";
import { limitProblems, mergeConfigs } from "./merge.ts";
import type { Problem } from "./problem.ts";
import type { Source } from "./sources.ts";
import { decode, type Text } from "./text.ts";

/** How a config is to be read. */
export interface LoadOptions {
  /** Whether IPv6 is on; undefined if the config is to say. */
  readonly enableIPv6?: boolean | undefined;
  /** The ConfigMap to read where a file is a Kubernetes manifest; undefined for the one that fits. */
  readonly configMap?: string | undefined;
  /** What it is if there is nothing at the path; undefined if that simply means the defaults. */
  readonly missing?: Problem["severity"] | undefined;
}

/** What the files mean together, and everything that is wrong with any of them. */
export async function parseFiles(
  files: readonly Source[],
  options: LoadOptions,
): Promise<{ config: Config; problems: readonly Problem[] }> {
  const open = await Promise.all(files.map(file => openFile(file, options)));
  const enableIPv6 = options.enableIPv6 ?? open.some(it => it.enableIPv6);
  const documents = open.map(it => it.read(enableIPv6));
  const config = mergeConfigs(documents.map(it => it.config));
  return { config, problems: [...documents.flatMap(it => it.problems), ...limitProblems(documents, config)] };
}

async function openFile({ path, bytes }: Source, { configMap }: LoadOptions): Promise<OpenDocument> {
  const text = decode(path, bytes);
  if ("what" in text) return nothing([text]);
  if (configMap === undefined && !looksLikeManifest(text)) return openConfigDocument(text);
  const { configInManifest } = await import("./manifest.ts");
  const { config, problems } = configInManifest(text, configMap);
  if (!config) return nothing(problems);
  const document = await openConfigDocument(config);
  return {
    ...document,
    read(enableIPv6) {
      const read = document.read(enableIPv6);
      return { ...read, problems: [...problems, ...read.problems] };
    },
  };
}

/** Whether a text may be a Kubernetes manifest: a config has no key `kind`. Takes no parsing. */
function looksLikeManifest({ content }: Text): boolean {
  return /(?<![^\n])[^#\n]*?(?<![\w.-])kind["']?[ \t]*:/.test(content);
}

function nothing(problems: readonly Problem[]): OpenDocument {
  return { enableIPv6: false, read: () => ({ config: {}, entries: new Map(), problems }) };
}
