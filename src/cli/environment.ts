import { closestMatch } from "../system/closest-match.ts";
import { UsageError } from "./args.ts";
import type { FlagValue } from "./flag.ts";
import { AGENT_FLAGS, variableOf } from "./flags.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** Adds the values of `IPMASQ_…` variables for flags that the command line does not set; warns of unknown variables. */
export function withEnvironment(
  given: ReadonlyMap<string, FlagValue>,
  environment: Environment,
): { readonly flags: ReadonlyMap<string, FlagValue>; readonly warnings: readonly string[] } {
  const flags = new Map(given);
  const variables = new Map(Object.keys(AGENT_FLAGS).map(name => [variableOf(name), name]));
  const warnings: string[] = [];
  for (const [variable, value] of Object.entries(environment)) {
    if (value === undefined || !variable.startsWith("IPMASQ_") || SET_BY_KUBELET.test(variable)) continue;
    const name = variables.get(variable);
    if (name === undefined) {
      const meant = closestMatch(variable, [...variables.keys()]);
      warnings.push(`unknown environment variable ${variable}${meant ? `; did you mean ${meant}?` : ""}`);
    } else if (!flags.has(name)) flags.set(name, { text: value, by: variable });
  }
  return { flags, warnings };
}

/** kubelet sets these in each container of a namespace with a Service named `ipmasq`. */
const SET_BY_KUBELET = /^IPMASQ_(SERVICE_|PORT($|_))/;

/**
 * Variables that make Bun, inside the binary, run other code. Found by trying each name in Bun 1.4.5: BUN_BE_BUN turns
 * the binary into `bun`, BUN_OPTIONS loads files (`--preload`), and the others let a debugger attach. Empty variables
 * have no effect.
 */
export const BUN_VARIABLES = ["BUN_BE_BUN", "BUN_OPTIONS", "BUN_INSPECT", "BUN_INSPECT_CONNECT_TO"] as const;

/**
 * Throws UsageError if one of {@link BUN_VARIABLES} is set. The check comes after Bun read them: a file named in
 * BUN_OPTIONS is already loaded, and a debugger could attach for some milliseconds. BUN_BE_BUN cannot be checked,
 * because ipmasq does not run if it is set.
 */
export function refuseBunVariables(environment: Environment): void {
  const set = BUN_VARIABLES.filter(name => name !== "BUN_BE_BUN" && environment[name]);
  if (set.length === 0) return;
  const [variables, them] = set.length === 1 ? ["variable", "it"] : ["variables", "them"];
  const what = `environment ${variables} ${set.join(" and ")} can run other code inside the agent`;
  throw new UsageError(what, `unset ${them}`);
}
