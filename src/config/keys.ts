import * as v from "valibot";
import { Cidr } from "../net/cidr.ts";
import { parseResyncInterval, raisedInterval } from "../net/duration.ts";
import { parseInterfaceName } from "../net/interface-name.ts";
import { type ParseFailure, parsedBy } from "../net/parse-failure.ts";
import type { Position, WarningName } from "./problem.ts";
import type { Node } from "./values.ts";

/** Everything about a key of the config. `V` is its value in a {@link Config}. */
export interface Key<V> extends About<V> {
  /** Accepts the plain value, or null for a key without a value. The message of an issue is the remedy. */
  readonly schema: (enableIPv6: boolean) => v.GenericSchema;
  /** The value of a node; undefined if it is wrong, or null where no list is expected. */
  readonly read: (node: Node, check: Check, enableIPv6: boolean) => V | undefined;
}

interface About<V> {
  /** Shown in the JSON Schema and in the README, in Markdown. */
  readonly description: string;
  /** The default, as shown in the JSON Schema and in the README, in Markdown. */
  readonly default: string;
  /** Other names that are accepted without a warning. */
  readonly aliases?: readonly string[];
  /** How to recognise that an unknown key means this one. */
  readonly meant?: Meaning;
  /** Merges the values of two files. If they are equivalent, the first one counts. */
  readonly merge: (first: V, second: V) => V;
  /** Whether `cidrLimit` limits the length of the list. */
  readonly limited?: boolean;
  /** The warning about a value, given as it is written, that is accepted all the same. */
  readonly warning?: (written: unknown) => (ParseFailure & { readonly name: WarningName }) | undefined;
}

interface Meaning {
  /** Matches the words of an unknown key, in lower case and separated by spaces. */
  readonly words: RegExp;
  /** Matches words for what no key does. */
  readonly unless?: RegExp;
  /** The lowest rank is tried first: 0 for specific words, 2 for words that several keys have. */
  readonly rank: 0 | 1 | 2;
}

/** The output of a schema for a value; undefined, after all problems are reported, if the value is wrong. */
type Check = <T>(schema: v.GenericSchema<unknown, T>) => T | undefined;

/** A value and its place in the config. */
export interface Located<T> {
  readonly value: T;
  readonly at: Required<Position>;
}

/** A key with a single value. */
function scalar<T>(schema: v.GenericSchema<unknown, T>, about: About<Located<T>>): Key<Located<T>> {
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

/** A key with a list, whose entries have places of their own. `null` is an empty list. */
function list<T>(
  entry: (enableIPv6: boolean) => v.GenericSchema<unknown, T>,
  example: string,
  about: Omit<About<readonly Located<T>[]>, "merge">,
): Key<readonly Located<T>[]> {
  const schema = (enableIPv6: boolean) =>
    v.nullable(v.array(entry(enableIPv6), `write a list, for example "[${example}]"`));
  return {
    ...about,
    schema,
    merge: (first, second) => distinct([...first, ...second]),
    read(node, check, enableIPv6) {
      const values = check(schema(enableIPv6));
      const items = node.kind === "list" ? node.items : [];
      if (values === undefined) return undefined;
      return distinct((values ?? []).map((value, i) => ({ value, at: items[i]?.at ?? node.at })));
    },
  };
}

/** The first of each set of equal entries. */
function distinct<T>(entries: readonly Located<T>[]): readonly Located<T>[] {
  const byText = new Map<string, Located<T>>();
  for (const entry of entries) {
    const text = `${entry.value}`;
    if (!byText.has(text)) byText.set(text, entry);
  }
  return [...byText.values()];
}

/** A merge that takes the second value only if it is better. */
function preferring<T>(isBetter: (second: T, first: T) => boolean) {
  return (first: Located<T>, second: Located<T>) => (isBetter(second.value, first.value) ? second : first);
}

function boolean(about: Omit<About<Located<boolean>>, "merge" | "default">): Key<Located<boolean>> {
  return scalar(v.boolean("write true or false without quotes"), {
    ...about,
    default: "`false`",
    merge: preferring((second, first) => second && !first),
  });
}

function cidr(enableIPv6: boolean) {
  return v.pipe(
    v.string('write a CIDR, for example "10.0.0.0/8"'),
    v.examples(["10.0.0.0/8", "2001:db8::/32"]),
    parsedBy(text => {
      const parsed = Cidr.parse(text);
      if (enableIPv6 || "what" in parsed || parsed.family === "ip") return parsed;
      return {
        what: `"${text}" is IPv6`,
        remedy: 'set "enableIPv6: true", start the agent with --enable-ipv6, or remove it',
      };
    }),
  );
}

function cidrs(about: Omit<About<readonly Located<Cidr>[]>, "merge" | "limited">) {
  return list(cidr, "10.0.0.0/8", { ...about, limited: true });
}

const INTERFACE = v.pipe(
  v.string('write an interface name, for example "eth0"'),
  v.examples(["eth0", "eth*"]),
  parsedBy(parseInterfaceName),
);

const INTERVAL = v.pipe(
  v.string(({ input }) =>
    typeof input === "number" ? `did you mean "${input}s"?` : 'add a unit, for example "60s"',
  ),
  v.examples(["60s", "1h30m"]),
  parsedBy(parseResyncInterval),
);

const POSITIVE = "write a positive whole number without quotes";

/** The keys in the order of the docs: first those of ip-masq-agent, then our own. */
const TABLE = {
  nonMasqueradeCIDRs: cidrs({
    description:
      "Destinations that keep the source address. With IPv6, list its CIDRs too: the default has only IPv4. An empty list masquerades everything except link-local addresses.",
    default: "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16",
    meant: { words: /masq|\bs?nat|cidr|subnet|range|net|destination|\bdst|ips?\b/, rank: 2 },
  }),
  masqLinkLocal: boolean({
    description: "Masquerade 169.254.0.0/16.",
    meant: { words: /^(?!.*6).*link ?local/, rank: 0 },
  }),
  masqLinkLocalIPv6: boolean({
    description: "Masquerade fe80::/10.",
    meant: { words: /link ?local/, rank: 0 },
  }),
  resyncInterval: scalar(INTERVAL, {
    description:
      "Interval between full syncs, as a Go duration. Changes are applied at once regardless of it. Less than `1s` counts as `1s`, with a warning.",
    default: "`60s`",
    meant: { words: /interval|period|resync|refresh/, rank: 0 },
    merge: preferring((second, first) => second < first),
    warning(written) {
      const raised = typeof written === "string" ? raisedInterval(written) : undefined;
      return raised && { name: "interval-raised", ...raised };
    },
  }),
  cidrLimit: scalar(v.pipe(v.number(POSITIVE), v.integer(POSITIVE), v.minValue(1, POSITIVE)), {
    description:
      "Maximum number of entries per list of CIDRs, as a guard against mistakes. All lists together can have 100,000.",
    default: "`64`",
    meant: { words: /limit|\bmax/, rank: 0 },
    merge: preferring((second, first) => second > first),
  }),
  masqueradeCIDRs: cidrs({
    description: "Destinations that are masqueraded even inside a non-masquerade CIDR or a link-local range.",
    default: "none",
    meant: { words: /masq|\bs?nat/, rank: 2 },
  }),
  sourceCIDRs: cidrs({
    description: "Masquerade only connections from these sources, for example the Pod CIDRs.",
    default: "any source",
    meant: { words: /source|\bsrc/, rank: 1 },
  }),
  nonMasqueradeSourceCIDRs: cidrs({
    description:
      "Never masquerade connections from these sources; overrides all other keys. Tencent TKE's `nonMasqueradeSrcCIDRs` is an alias.",
    default: "none",
    aliases: ["nonMasqueradeSrcCIDRs"],
    meant: { words: /source|\bsrc/, rank: 1 },
  }),
  outputInterfaces: list(() => INTERFACE, "eth0", {
    description:
      "Masquerade only connections that leave through these interfaces. `eth*` matches every name that starts with `eth`.",
    default: "any interface",
    meant: {
      words: /interface|iface|device|\bnics?\b/,
      unless: /\b(in|input|ingress|incoming)\b/,
      rank: 0,
    },
  }),
  enableIPv6: boolean({
    description: "Masquerade IPv6 too. The flag `--enable-ipv6` takes precedence.",
    meant: { words: /ipv6|dual ?stack/, unless: /cidr|subnet/, rank: 1 },
  }),
};

type Values = { [K in keyof typeof TABLE]: (typeof TABLE)[K] extends Key<infer V> ? V : never };

export type KeyName = keyof Values;

/**
 * What the user wrote, read and checked, in one file or in several merged ones. A key is missing if it was not written.
 * The policy decides what that means.
 */
export type Config = { readonly [K in KeyName]?: Values[K] | undefined };

export const KEYS: { readonly [K in KeyName]: Key<Values[K]> } = TABLE;

export const KEY_NAMES: readonly KeyName[] = Object.keys(TABLE).filter(name => isKeyName(name));

function isKeyName(name: string): name is KeyName {
  return Object.hasOwn(TABLE, name);
}

/** Builds a config key by key. */
export function buildConfig(
  valueFor: <K extends KeyName>(name: K, key: Key<Values[K]>) => Values[K] | undefined,
): Config {
  const config: { [K in KeyName]?: Values[K] | undefined } = {};
  const add = <K extends KeyName>(name: K) => {
    config[name] = valueFor(name, KEYS[name]);
  };
  for (const name of KEY_NAMES) add(name);
  return config;
}
