import type { ConfigDocument, OpenDocument } from "./document.ts";
import { buildConfig, type Config, KEY_NAMES, KEYS } from "./keys.ts";
import type { ConfigError, ConfigWarning, Position, Problem } from "./problem.ts";
import { MOST_ELEMENTS, tooManyElements } from "./text.ts";

/** The config of several files, and the problems of their combination. */
export interface Merged {
  readonly config: Config;
  readonly problems: readonly Problem[];
}

/** Merges documents key by key, in their order. */
export function mergeDocuments(documents: readonly ConfigDocument[]): Merged {
  const config = buildConfig((name, key) => {
    const values = documents.map(document => document.config[name]).filter(it => it !== undefined);
    return values.length === 0 ? undefined : values.reduce(key.merge);
  });
  return { config, problems: [...limitErrors(documents, config), ...nullListWarnings(documents, config)] };
}

/** The error if all files together have too many entries. */
export function sizeError(open: readonly OpenDocument[]): ConfigError | undefined {
  const elements = open.reduce((sum, it) => sum + it.elements, 0);
  if (elements <= MOST_ELEMENTS) return undefined;
  return tooManyElements({ file: open.find(it => it.elements > 0)?.file ?? "" }, `${elements}`);
}

/** An error for each list that has more entries than `cidrLimit`, counted in all files, as written. */
function limitErrors(documents: readonly ConfigDocument[], { cidrLimit }: Config): ConfigError[] {
  const limit = cidrLimit?.value ?? CIDR_LIMIT;
  const limited = KEY_NAMES.filter(name => KEYS[name].limited);
  return limited.flatMap((key): ConfigError[] => {
    const places = documents.flatMap(({ entries }): readonly Position[] => entries.get(key) ?? []);
    const at = places[limit];
    if (!at) return [];
    const what = `${places.length} entries exceed the cidrLimit of ${limit}`;
    const remedy = `set "cidrLimit: ${places.length}", or remove entries`;
    return [{ severity: "error", at, key, what, remedy }];
  });
}

const CIDR_LIMIT = 64;

/** Warns of a list without a value. Like an empty list it masquerades everything, but that is rarely intended. */
function nullListWarnings(documents: readonly ConfigDocument[], config: Config): ConfigWarning[] {
  if (config.nonMasqueradeCIDRs?.length !== 0) return [];
  return documents.flatMap(({ nullList: at }): ConfigWarning[] => {
    if (!at) return [];
    const key = "nonMasqueradeCIDRs";
    const what = "no value, so everything except link-local is masqueraded";
    const remedy = "list CIDRs, or write [] if this is intended";
    return [{ severity: "warning", name: "everything-masqueraded", at, key, what, remedy }];
  });
}
