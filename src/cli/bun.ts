import { UsageError } from "./args.ts";

/**
 * Variables that make Bun, which is in the binary, run other code. Found by trying each name in Bun 1.4.5: BUN_BE_BUN
 * makes it a `bun`, BUN_OPTIONS loads files (`--preload`), and the others let a debugger in. Empty ones do nothing.
 */
export const BUN_VARIABLES = ["BUN_BE_BUN", "BUN_OPTIONS", "BUN_INSPECT", "BUN_INSPECT_CONNECT_TO"] as const;

/**
 * Throws UsageError if one of them is set. Bun has read them by then: a file that BUN_OPTIONS names was loaded, and a
 * debugger had some milliseconds. BUN_BE_BUN cannot be checked here: if it is true, ipmasq does not run at all.
 */
export function refuseBunVariables(environment: Readonly<Record<string, string | undefined>>): void {
  const set = BUN_VARIABLES.filter(name => name !== "BUN_BE_BUN" && environment[name]);
  if (set.length === 0) return;
  throw new UsageError(
    `environment: ${set.join(" and ")} can run other code inside the agent; unset ${set.length === 1 ? "it" : "them"}`,
  );
}
