import { quote } from "../net/parse-failure.ts";
import { closestMatch } from "../system/closest-match.ts";
import { suspects, withoutSuspects } from "./accidents.ts";
import { KEY_NAMES, KEYS, type KeyName } from "./keys.ts";
import type { ConfigWarning, Problem } from "./problem.ts";
import { duplicateKey, type Entry, type Mapping, type Node } from "./values.ts";

/** The entries of a mapping whose keys are known, and the others. */
export interface FoundKeys {
  readonly known: ReadonlyMap<KeyName, Node>;
  readonly unknown: readonly Entry[];
  readonly problems: readonly Problem[];
}

/** The names of keys in lower case, aliases included. */
const NAMES: ReadonlyMap<string, KeyName> = new Map(
  KEY_NAMES.flatMap(name =>
    [name, ...aliasesOf(name)].map(spelling => [spelling.toLowerCase(), name] as const),
  ),
);

/** Matches a known key at the start of a line. */
export const KNOWN_KEY = new RegExp(`^[ {"']*(?:${[...NAMES.keys()].join("|")})["']?[ ]*:`, "im");

/**
 * Finds the known keys of a mapping. Keys match case-insensitively, as in Go's JSON decoder and so in ip-masq-agent.
 * The mapping's own keys override keys from a merge key.
 */
export function findKeys({ entries }: Mapping): FoundKeys {
  const found = new Map<KeyName, Entry>();
  const unknown: Entry[] = [];
  const problems: Problem[] = [];
  const all = [...entries.values()];
  for (const entry of [...all.filter(it => !it.merged), ...all.filter(it => it.merged)]) {
    const { key } = entry;
    const name = NAMES.get(key.text.toLowerCase());
    if (name === undefined) {
      const [suspect] = suspects(key.text);
      if (suspect && isKnown(withoutSuspects(key.text))) {
        const { what, remedy } = suspect;
        problems.push({ severity: "error", at: key.at, key: key.text, what, remedy });
      } else unknown.push(entry);
      continue;
    }
    const first = found.get(name);
    if (first && entry.merged) continue;
    if (name !== key.text && !aliasesOf(name).includes(key.text)) problems.push(capitals(entry, name));
    if (first) problems.push(duplicateKey(key, first.key));
    else found.set(name, entry);
  }
  const known = new Map([...found].map(([name, { value }]) => [name, value]));
  return { known, unknown, problems };
}

/** Whether a word is the name of a key, in any capitalization. */
export function isKnown(word: string): boolean {
  return NAMES.has(word.toLowerCase());
}

function aliasesOf(name: KeyName): readonly string[] {
  return KEYS[name].aliases ?? [];
}

function capitals({ key }: Entry, name: KeyName): ConfigWarning {
  return {
    severity: "warning",
    name: "key-capitals",
    at: key.at,
    key: key.text,
    what: "unusual capitalization",
    remedy: `write ${quote(name)}`,
  };
}

/** The warning about an unknown key. */
export function unknownKey({ key }: Entry): ConfigWarning {
  const meant = meantKey(key.text);
  return {
    severity: "warning",
    name: "unknown-key",
    at: key.at,
    key: key.text,
    what: "unknown key",
    remedy: meant ? `did you mean ${quote(meant)}?` : `the keys are ${KEY_NAMES.join(", ")}`,
  };
}

/**
 * The key that an unknown key probably means: by one or two typos, by its meaning, or by a rough resemblance. Never
 * returns a key of the opposite meaning.
 */
export function meantKey(word: string): KeyName | undefined {
  const words = wordsOf(word);
  const close = mistypedKey(word, words);
  if (close !== undefined) return close === "masqLinkLocal" && /6/.test(word) ? "masqLinkLocalIPv6" : close;
  const negative = words.some(isNegative);
  const text = words.join(" ");
  for (const rank of [0, 1, 2]) {
    const sharing = KEY_NAMES.filter(name => {
      const { meant } = KEYS[name];
      return meant?.rank === rank && meant.words.test(text);
    });
    if (sharing.length === 0) continue;
    return sharing.find(name => isNegativeKey(name) === negative && !KEYS[name].meant?.unless?.test(text));
  }
  return closestKey(
    word,
    KEY_NAMES.filter(name => isNegativeKey(name) === negative),
  );
}

/**
 * The key that is one or two typos away. Undefined if a key of the opposite meaning is equally close: a typo in the
 * first letters may hide a "non".
 */
function mistypedKey(word: string, words: readonly string[]): KeyName | undefined {
  const negative = words.some(isPositive) ? [] : KEY_NAMES.filter(isNegativeKey);
  const positive = words.some(isNegative) ? [] : KEY_NAMES.filter(name => !isNegativeKey(name));
  for (const typos of [1, 2]) {
    const found = [closestKey(word, negative, typos), closestKey(word, positive, typos)].flatMap(
      it => it ?? [],
    );
    if (found.length > 0) return found.length === 1 ? found[0] : undefined;
  }
  return undefined;
}

function closestKey(word: string, names: readonly KeyName[], mostTypos?: number): KeyName | undefined {
  const closest = closestMatch(word, names, mostTypos);
  return names.find(name => name === closest);
}

function isNegativeKey(name: KeyName): boolean {
  return wordsOf(name).some(isNegative);
}

/** Splits a key into lower-case words: `forceMasqueradeCIDRs` into force, masquerade, cidrs. */
function wordsOf(key: string): string[] {
  return key
    .replace(/([a-z\d])([A-Z])|([A-Z])(?=[A-Z][a-z]{2})/g, "$1$3 $2")
    .toLowerCase()
    .split(/[^a-z\d]+/)
    .filter(Boolean);
}

function isNegative(word: string): boolean {
  return (
    /^(non|no|not|dont|never|without|skip(ped)?|un)$/.test(word) ||
    /^(exclu[ds]|except|exempt|ignore|bypass|keep|kept|preserv|omit|disable)/.test(word) ||
    /^(non?|un|dis|skip)(masq|snat|nat)/.test(word)
  );
}

function isPositive(word: string): boolean {
  return /^(do|force[ds]?|always|only|must|include[ds]?|want(ed)?)$/.test(word);
}
