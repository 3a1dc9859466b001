/**
 * The warnings about a config, by stable names. A comment `# ipmasq: allow NAME` in the config or `check --allow=NAME`
 * accepts a warning. The comment must be on the line of the warning or the line above; for a warning about the whole
 * file it may be anywhere.
 */
export const WARNINGS = {
  "path-missing": { about: "file", means: "nothing is at the path that was given" },
  "file-not-read": {
    about: "file",
    means: "a file of the directory, or a key of the ConfigMap, is not read",
  },
  "unknown-key": { about: "line", means: "a key is not known, and does nothing" },
  "key-capitals": { about: "line", means: "a key is spelt with other capitals than usual" },
  "interval-raised": { about: "line", means: "a resyncInterval under 1s counts as 1s" },
  "frequent-resync": { about: "line", means: "a resyncInterval is so short that it wastes CPU" },
  "everything-kept": { about: "file", means: "the list holds every address of a family" },
  "everything-masqueraded": { about: "line", means: "the list is a key without a value" },
  "no-private-range": { about: "file", means: "the list holds no range that Pods use" },
  "ipv4-masqueraded": { about: "file", means: "the list holds no IPv4: Pod-to-Pod IPv4 is masqueraded" },
  "ipv6-masqueraded": { about: "file", means: "the list holds no IPv6: Pod-to-Pod IPv6 is masqueraded" },
  "redundant-link-local": { about: "line", means: "an entry is link-local, which is not masqueraded anyway" },
  "exception-without-effect": { about: "line", means: "an exception lies in no non-masquerade CIDR" },
  "yaml-warning": { about: "line", means: "the YAML parser warns of something" },
  "unknown-allowance": { about: "line", means: "a comment accepts a warning that does not exist" },
} as const satisfies Readonly<Record<string, { readonly about: "file" | "line"; readonly means: string }>>;

export type WarningName = keyof typeof WARNINGS;

export function isWarningName(name: string): name is WarningName {
  return Object.hasOwn(WARNINGS, name);
}
