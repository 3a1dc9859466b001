import { quote } from "../net/parse-failure.ts";
import type { Config, KeyName } from "./keys.ts";
import type { ConfigError, Position } from "./problem.ts";

/**
 * The errors of a config whose values are valid one by one, but not together.
 *
 * @param isWritten whether a key is in a file, perhaps with an invalid value
 */
export function combinationErrors(config: Config, isWritten: (key: KeyName) => boolean): ConfigError[] {
  return [...mixedInterfaces(config), ...leaksWithoutSources(config, isWritten)];
}

/** Positive and negated entries together have no obvious meaning. */
function mixedInterfaces({ outputInterfaces: list = [] }: Config): ConfigError[] {
  const [first] = list;
  const other = list.find(({ value }) => isNegated(value) !== (first && isNegated(first.value)));
  if (!first || !other) return [];
  const [excluded, included] = isNegated(first.value) ? [first, other] : [other, first];
  const what = `${quote(included.value)} includes an interface and ${quote(excluded.value)} excludes one`;
  return [error(other.at, "outputInterfaces", what, 'write "!" before all entries, or before none')];
}

function isNegated(entry: string): boolean {
  return entry.startsWith("!");
}

/** Without the sources, the connections of the node itself and of other hosts would count as leaks. */
function leaksWithoutSources(
  { dropLeaks, sourceCIDRs }: Config,
  isWritten: (key: KeyName) => boolean,
): ConfigError[] {
  const isMissing = sourceCIDRs ? sourceCIDRs.length === 0 : !isWritten("sourceCIDRs");
  if (!dropLeaks?.value || !isMissing) return [];
  const remedy = "set sourceCIDRs to the CIDRs of Pods or clients, or remove dropLeaks";
  return [error(dropLeaks.at, "dropLeaks", "needs sourceCIDRs", remedy)];
}

function error(at: Position, key: string, what: string, remedy: string): ConfigError {
  return { severity: "error", at, key, what, remedy };
}
