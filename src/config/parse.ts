import type { Config } from "./config.ts";
import { type ConfigDocument, parseConfigDocument } from "./document.ts";
import { limitProblems, mergeConfigs } from "./merge.ts";
import type { Problem } from "./problem.ts";
import type { Source } from "./sources.ts";
import { decode } from "./text.ts";

/** How a config is to be read. */
export interface LoadOptions {
  /** Whether IPv6 CIDRs are allowed. */
  readonly enableIPv6: boolean;
  /** Present if a file may be a Kubernetes manifest, with the name of the ConfigMap to choose, if any. */
  readonly manifest?: { readonly configMap?: string | undefined };
}

/** What the files mean together, and everything that is wrong with any of them. */
export async function parseFiles(
  files: readonly Source[],
  options: LoadOptions,
): Promise<{ config: Config; problems: readonly Problem[] }> {
  const documents = await Promise.all(files.map(file => parseFile(file, options)));
  const config = mergeConfigs(documents.map(it => it.config));
  return { config, problems: [...documents.flatMap(it => it.problems), ...limitProblems(documents, config)] };
}

async function parseFile(
  { path, bytes }: Source,
  { enableIPv6, manifest }: LoadOptions,
): Promise<ConfigDocument> {
  const text = decode(path, bytes);
  if ("what" in text) return nothing([text]);
  if (!manifest) return parseConfigDocument(text, enableIPv6);
  const { configInManifest, looksLikeManifest } = await import("./manifest.ts");
  if (!(manifest.configMap || looksLikeManifest(text))) return parseConfigDocument(text, enableIPv6);
  const { config, problems } = configInManifest(text, manifest.configMap);
  if (!config) return nothing(problems);
  const document = await parseConfigDocument(config, enableIPv6);
  return { ...document, problems: [...problems, ...document.problems] };
}

function nothing(problems: readonly Problem[]): ConfigDocument {
  return { config: {}, entries: new Map(), problems };
}
