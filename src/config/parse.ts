import type { Config } from "./config.ts";
import { type ConfigDocument, parseConfigDocument } from "./document.ts";
import type { LoadOptions } from "./load.ts";
import { configInManifest, looksLikeManifest } from "./manifest.ts";
import { limitProblems, mergeConfigs } from "./merge.ts";
import type { Problem } from "./problem.ts";
import type { Source } from "./sources.ts";
import { decode } from "./text.ts";

/** What the files mean together, and everything that is wrong with any of them. */
export function parseFiles(
  files: readonly Source[],
  options: LoadOptions,
): { config: Config; problems: readonly Problem[] } {
  const documents = files.map(file => parseFile(file, options));
  const config = mergeConfigs(documents.map(it => it.config));
  return { config, problems: [...documents.flatMap(it => it.problems), ...limitProblems(documents, config)] };
}

function parseFile({ path, bytes }: Source, { enableIPv6, manifest }: LoadOptions): ConfigDocument {
  const text = decode(path, bytes);
  if ("what" in text) return nothing([text]);
  if (!manifest || !(manifest.configMap || looksLikeManifest(text)))
    return parseConfigDocument(text, enableIPv6);
  const { config, problems } = configInManifest(text, manifest.configMap);
  if (!config) return nothing(problems);
  const document = parseConfigDocument(config, enableIPv6);
  return { ...document, problems: [...problems, ...document.problems] };
}

function nothing(problems: readonly Problem[]): ConfigDocument {
  return { config: {}, entries: new Map(), problems };
}
