import { quote } from "../net/parse-failure.ts";
import type { Config } from "./keys.ts";
import type { ConfigError, Position } from "./problem.ts";

/** The errors of a config whose values are valid one by one, but not together. */
export function combinationErrors(config: Config): ConfigError[] {
  return mixedInterfaces(config);
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

function error(at: Position, key: string, what: string, remedy: string): ConfigError {
  return { severity: "error", at, key, what, remedy };
}
