import type { ConfigError, Position } from "./problem.ts";

/** How much a text may ask of the YAML parser. */
export interface Limits {
  /** Documents in the text. */
  readonly documents: number;
  /** Lists and mappings in one another. */
  readonly depth: number;
  /** UTF-16 code units of one scalar. */
  readonly scalar: number;
  /** Lines of a list, with a comment at the end of each. */
  readonly entries: number;
  /** Keys and values, each alias being one. */
  readonly values: number;
}

/**
 * The limits of a config. How many entries it may have follows from the `cidrLimit` that is stated in it, so
 * that a small config, as nearly all are, cannot make the parser work for seconds: measured, it takes up to
 * 13 µs and 1 KB for an entry, and 30 µs for one with errors in it.
 */
export function configLimits(statedCidrLimit: number): Limits {
  const entries = Math.min(Math.max(4 * statedCidrLimit, FEWEST_ENTRIES), MOST_ENTRIES);
  return { documents: 1, depth: 32, scalar: 64 * 1024, entries, values: MOST_ELEMENTS + MOST_KEYS };
}

/** The limits of a manifest: whole Helm charts with their CRDs come this way. A ConfigMap ends at 1 MiB. */
export const MANIFEST_LIMITS: Limits = {
  documents: 1000,
  depth: 100,
  scalar: 1024 * 1024,
  entries: 250_000,
  values: Number.POSITIVE_INFINITY,
};

/** The largest number that stands behind `cidrLimit` anywhere in a text; 0 without one. */
export function statedCidrLimit(content: string): number {
  let largest = 0;
  for (const [, digits] of content.matchAll(/\bcidrLimit\W{1,8}(\d{1,15})/gi)) {
    largest = Math.max(largest, Number(digits));
  }
  return largest;
}

const FEWEST_ENTRIES = 10_000;
export const MOST_ENTRIES = 250_000;

/** Keys that a config may have beside its entries, known or not. */
const MOST_KEYS = 1000;

/**
 * The most entries in all lists together, of both families and of all files, with aliases expanded. When such a list
 * changed while the agent ran, agent and nft took up to 775 MB for IPv4 and 905 MB for IPv6 in their cgroup (kernel
 * 6.18, nft 1.0.6, 2 cores); the manifest's limit is 1 GiB.
 */
export const MOST_ELEMENTS = 100_000;

/** The error for more entries than that. */
export function capError(at: Position, entries: string): ConfigError {
  return {
    severity: "error",
    at,
    what: `${entries} entries in all lists together, but ${MOST_ELEMENTS} are allowed`,
    remedy: "unite CIDRs that lie side by side, or remove some",
  };
}
