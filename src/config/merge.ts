import type { Cidr } from "../net/cidr.ts";
import type { Config, Located } from "./config.ts";
import type { ConfigDocument } from "./document.ts";
import type { Position, Problem } from "./problem.ts";

const CIDR_LIMIT = 64;

/** The lists whose lengths `cidrLimit` bounds. */
const CIDR_LISTS = ["nonMasqueradeCIDRs", "masqueradeCIDRs", "sourceCIDRs", "nonMasqueradeSourceCIDRs"];

/**
 * What the configs of several files mean together: lists united, booleans ORed, the smallest `resyncInterval`
 * and the largest `cidrLimit`. Of equal values the first counts.
 */
export function mergeConfigs(configs: readonly Config[]): Config {
  return configs.reduce<Config>(
    (all, config) => ({
      nonMasqueradeCIDRs: united(all.nonMasqueradeCIDRs, config.nonMasqueradeCIDRs),
      masqueradeCIDRs: united(all.masqueradeCIDRs, config.masqueradeCIDRs),
      sourceCIDRs: united(all.sourceCIDRs, config.sourceCIDRs),
      nonMasqueradeSourceCIDRs: united(all.nonMasqueradeSourceCIDRs, config.nonMasqueradeSourceCIDRs),
      outputInterfaces: united(all.outputInterfaces, config.outputInterfaces),
      masqLinkLocal: preferred(all.masqLinkLocal, config.masqLinkLocal, (a, b) => a && !b),
      masqLinkLocalIPv6: preferred(all.masqLinkLocalIPv6, config.masqLinkLocalIPv6, (a, b) => a && !b),
      enableIPv6: preferred(all.enableIPv6, config.enableIPv6, (a, b) => a && !b),
      resyncInterval: preferred(all.resyncInterval, config.resyncInterval, (a, b) => a < b),
      cidrLimit: preferred(all.cidrLimit, config.cidrLimit, (a, b) => a > b),
    }),
    {},
  );
}

/** An error for each list of CIDRs that has, over all files and as it was written, more entries than are allowed. */
export function limitProblems(documents: readonly ConfigDocument[], { cidrLimit }: Config): Problem[] {
  const limit = cidrLimit?.value ?? CIDR_LIMIT;
  return CIDR_LISTS.flatMap((key): Problem[] => {
    const places = documents.flatMap(({ entries }): readonly Position[] => entries.get(key) ?? []);
    const at = places[limit];
    if (!at) return [];
    const what = `${places.length} entries, where cidrLimit allows ${limit}`;
    return [
      { severity: "error", at, key, what, remedy: `set "cidrLimit: ${places.length}", or remove entries` },
    ];
  });
}

function preferred<T>(
  a: Located<T> | undefined,
  b: Located<T> | undefined,
  over: (b: T, a: T) => boolean,
): Located<T> | undefined {
  return a && b && over(b.value, a.value) ? b : (a ?? b);
}

function united<T extends Cidr | string>(
  a: readonly Located<T>[] | undefined,
  b: readonly Located<T>[] | undefined,
): Located<T>[] | undefined {
  if (!a && !b) return undefined;
  const byText = new Map<string, Located<T>>();
  for (const entry of [...(a ?? []), ...(b ?? [])]) {
    const text = `${entry.value}`;
    if (!byText.has(text)) byText.set(text, entry);
  }
  return [...byText.values()];
}
