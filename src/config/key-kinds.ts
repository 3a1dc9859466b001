import * as v from "valibot";
import { Cidr } from "../net/cidr.ts";
import { isFailure, type ParseFailure, parsedBy } from "../net/parse-failure.ts";
import type { Position, WarningName } from "./problem.ts";
import { isNull, type Node, scalarValue } from "./values.ts";

/** Everything about a key of the config. `V` is its value in a {@link Config}. */
export interface Key<V> extends About<V> {
  /** Accepts the plain value, or null for a key without a value. The message of an issue is the remedy. */
  readonly schema: (enableIPv6: boolean) => v.GenericSchema;
  /** The value of a node; undefined if it is invalid. Null is an empty list, or undefined if the key is not a list. */
  readonly read: (node: Node, check: Check, enableIPv6: boolean) => V | undefined;
}

interface About<V> {
  /** Shown in the JSON Schema and in the README, in Markdown. */
  readonly description: string;
  /** The default, as shown in the JSON Schema and in the README, in Markdown. */
  readonly default: string;
  /** Other names that are accepted without a warning. */
  readonly aliases?: readonly string[];
  /** Recognizes unknown keys that probably mean this key. */
  readonly meant?: Meaning;
  /** Merges the values of two files. If they are equivalent, the first one counts. */
  readonly merge: (first: V, second: V) => V;
  /** Whether `cidrLimit` limits the length of the list. */
  readonly limited?: boolean;
  /** A warning about a valid value, given as it is written. */
  readonly warning?: (written: unknown) => (ParseFailure & { readonly name: WarningName }) | undefined;
}

interface Meaning {
  /** Matches the words of an unknown key, in lower case and separated by spaces. */
  readonly words: RegExp;
  /** Matches words for a feature that no key has. */
  readonly unless?: RegExp;
  /** The lowest rank is tried first: 0 for specific words, 2 for words that several keys have. */
  readonly rank: 0 | 1 | 2;
}

/** Validates the plain value of the node, and reports its problems. Returns undefined if the value is invalid. */
type Check = <T>(schema: v.GenericSchema<unknown, T>) => T | undefined;

/** A value and its place in the config. */
export interface Located<T> {
  readonly value: T;
  readonly at: Required<Position>;
}

/** A key with a single value. */
export function scalar<T>(schema: v.GenericSchema<unknown, T>, about: About<Located<T>>): Key<Located<T>> {
  const nullable = v.nullable(schema);
  return {
    ...about,
    schema: () => nullable,
    read({ at }, check) {
      const value = check(nullable);
      return value === undefined || value === null ? undefined : { value, at };
    },
  };
}

/** A value in a list. Values with the same key are equal. */
type ListValue = string | { readonly key: number | string };

/** How texts become values of a list. */
interface Entries<T> {
  /** An entry in words. */
  readonly what: string;
  readonly examples: readonly [string, ...string[]];
  readonly parse: (text: string, enableIPv6: boolean) => T | ParseFailure;
}

/** A key with a list, whose entries have their own places. `null` is an empty list. */
export function list<T extends ListValue>(
  { what, examples, parse }: Entries<T>,
  about: Omit<About<readonly Located<T>[]>, "merge">,
): Key<readonly Located<T>[]> {
  const [example] = examples;
  const schema = (enableIPv6: boolean) => {
    const parsed = parsedBy(text => parse(text, enableIPv6));
    const entry = v.pipe(
      v.string(`write ${what}, for example "${example}"`),
      v.examples([...examples]),
      parsed,
    );
    return v.nullable(v.array(entry, `write a list, for example "[${example}]"`));
  };
  return {
    ...about,
    schema,
    merge(first, second) {
      const isNew = firstOfEach<T>();
      return [...first, ...second].filter(({ value }) => isNew(value));
    },
    read(node, check, enableIPv6) {
      const valid = isNull(node) ? [] : validEntries(node, text => parse(text, enableIPv6));
      // The schema takes ten times as long, and is needed only for its messages.
      if (!valid) check(schema(enableIPv6));
      return valid;
    },
  };
}

/** The distinct entries of a list; undefined for another node, or if an entry is invalid. */
function validEntries<T extends ListValue>(
  node: Node,
  parse: (text: string) => T | ParseFailure,
): Located<T>[] | undefined {
  if (node.kind !== "list") return undefined;
  const isNew = firstOfEach<T>();
  const entries: Located<T>[] = [];
  for (const item of node.items) {
    const text = item.kind === "scalar" ? scalarValue(item) : undefined;
    const value = typeof text === "string" ? parse(text) : undefined;
    if (value === undefined || isFailure(value)) return undefined;
    if (isNew(value)) entries.push({ value, at: item.at });
  }
  return entries;
}

/** Returns a function that returns true for the first of each set of equal values. */
function firstOfEach<T extends ListValue>(): (value: T) => boolean {
  const keys = new Set<number | string>();
  return value => {
    const { size } = keys;
    return keys.add(typeof value === "string" ? value : value.key).size > size;
  };
}

/** A merge that takes the second value only if it is better. */
export function preferring<T>(isBetter: (second: T, first: T) => boolean) {
  return (first: Located<T>, second: Located<T>) => (isBetter(second.value, first.value) ? second : first);
}

/** A key with true or false. If any file sets it to true, true counts. */
export function boolean(about: Omit<About<Located<boolean>>, "merge" | "default">): Key<Located<boolean>> {
  return scalar(v.boolean("write true or false without quotes"), {
    ...about,
    default: "`false`",
    merge: preferring((second, first) => second && !first),
  });
}

function parseCidr(text: string, enableIPv6: boolean): Cidr | ParseFailure {
  const parsed = Cidr.parse(text);
  if (enableIPv6 || isFailure(parsed) || parsed.family === "ip") return parsed;
  return {
    what: `"${text}" is IPv6, which is not enabled`,
    remedy: 'set "enableIPv6: true"',
  };
}

/** A key with a list of CIDRs, limited by `cidrLimit`. */
export function cidrs(about: Omit<About<readonly Located<Cidr>[]>, "merge" | "limited">) {
  const examples = ["10.0.0.0/8", "2001:db8::/32"] as const;
  return list({ what: "a CIDR", examples, parse: parseCidr }, { ...about, limited: true });
}
